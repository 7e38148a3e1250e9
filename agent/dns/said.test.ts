import fc from "fast-check";
import { expect, test } from "vitest";
import type { DnsRecord } from "#agent/compile/dns-records.ts";
import { packSaid, recordsAt, unpackSaid } from "./said.ts";

// Names that hold each other, and the first one, in every way.
const name = fc
  .constantFrom("a", "b", "svc", "_p", "-", "1")
  .chain((label) =>
    fc.array(fc.constantFrom("a", "b", "aa", "_p", "-", "1", "svc"), { maxLength: 4 }).map((labels) => [label, ...labels].join(".")),
  );
const record: fc.Arbitrary<DnsRecord> = fc.oneof(
  fc.record(
    {
      name,
      type: fc.constantFrom("A" as const, "AAAA" as const),
      address: fc.constantFrom("10.0.0.1", "fd00::1", "1.1.1.1"),
      weight: fc.nat(),
      isNear: fc.boolean(),
    },
    { requiredKeys: ["name", "type", "address"] },
  ),
  fc.record({ name, type: fc.constantFrom("CNAME" as const, "NS" as const), target: name }),
  fc.record({ name, type: fc.constant("SRV" as const), weight: fc.nat(65_535), port: fc.nat(65_535), target: name }),
  fc.record({ name, type: fc.constant("PTR" as const), of: fc.constantFrom("virtual-ip" as const, "endpoint" as const), target: name }),
  fc.record({ name, type: fc.constant("TXT" as const), text: fc.string(), ttl: fc.nat() }),
);

test("what was packed is found again, by name and type and as a whole, and nothing else is", () => {
  fc.assert(
    fc.property(fc.array(record, { maxLength: 12 }), fc.array(name, { maxLength: 4 }), name, (records, names, other) => {
      const said = packSaid(records, names);
      const whole = unpackSaid(said);
      const byPlace = (all: readonly DnsRecord[]): readonly DnsRecord[] =>
        all.toSorted((x, y) => `${x.type} ${x.name}`.localeCompare(`${y.type} ${y.name}`, "en")); // stable: the order at one place stays
      expect(byPlace(whole.records)).toEqual(byPlace(records));
      expect(whole.names).toEqual(names);
      for (const at of [...records.map((one) => one.name), ...names, other])
        for (const type of ["A", "AAAA", "CNAME", "NS", "PTR", "SRV", "TXT"] as const)
          expect(recordsAt(said, at, type).map((one) => ({ name: at, ...one }))).toEqual(
            records.filter((one) => one.name === at && one.type === type),
          );
    }),
    { numRuns: 2000 },
  );
});

test("names are found whatever their case was", () => {
  const said = packSaid([{ name: "Web.Default", type: "A", address: "10.0.0.1" }], ["Default"]);
  expect(recordsAt(said, "web.default", "A")).toEqual([{ type: "A", address: "10.0.0.1" }]);
  expect(unpackSaid(said).names).toEqual(["default"]);
});
