import fc from "fast-check";
import { expect, test } from "vitest";
import type { DnsChange, DnsRecord } from "#agent/compile/dns-records.ts";
import { keyOfName } from "./name.ts";
import { TYPE } from "./protocol.ts";
import { reverseZonesOf } from "./reverse-zones.ts";
import { ZoneIndex } from "./zone.ts";

const key = (name: string): string => keyOfName(name) ?? "";
const fresh = (): ZoneIndex => new ZoneIndex({ domain: "cluster.local", serviceCidrs: ["10.96.0.0/16"], dnsIps: ["10.96.0.10"] }, 1);
const change = { all: false, synced: true, serial: 1 };
const a = (name: string, address: string): DnsRecord => ({ name, type: "A", address });

test("a change leaves the encoded records of other names alone", () => {
  const zone = fresh();
  const twice = ["10.96.0.1", "10.96.0.9"].map((address) => a("a.n.svc.cluster.local", address)); // a single record is not kept
  zone.apply([{ source: "1", names: [], records: twice }], change);
  const before = zone.recordsOf(key("a.n.svc.cluster.local"), TYPE.A);
  zone.apply([{ source: "2", names: [], records: [a("b.n.svc.cluster.local", "10.96.0.2")] }], change);
  expect(zone.recordsOf(key("a.n.svc.cluster.local"), TYPE.A)).toBe(before);
  zone.apply([{ source: "1", names: [], records: [a("a.n.svc.cluster.local", "10.96.0.3")] }], change);
  expect(zone.recordsOf(key("a.n.svc.cluster.local"), TYPE.A)?.asked[0]?.subarray(-4)).toEqual(Buffer.of(10, 96, 0, 3));
});

test("of more than 1,000 records 1,000 are answered, from another place on when their TTL is over; those that are near always", () => {
  const now = { ms: 0, random: 0 };
  const options = { domain: "cluster.local", serviceCidrs: [], dnsIps: [], random: () => now.random, nowMs: () => now.ms };
  const zone = new ZoneIndex(options, 1);
  const of = (name: string, count: number, nearFrom: number): DnsRecord[] =>
    Array.from({ length: count }, (_, i) => ({
      ...a(`${name}.n.svc.cluster.local`, `10.0.${i >> 8}.${i & 255}`),
      ...(nearFrom < Infinity && { isNear: i >= nearFrom }),
    }));
  const records = [...of("large", 2500, Infinity), ...of("small", 1000, Infinity), ...of("near", 2500, 2400)];
  zone.apply([{ source: "1", names: [], records }], change);
  const numbers = (name: string): number[] =>
    (zone.recordsOf(key(`${name}.n.svc.cluster.local`), TYPE.A)?.asked ?? []).map((record) => record.readUInt16BE(record.length - 2));
  const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => (from + i) % 2500);

  expect(numbers("large")).toEqual(range(0, 1000));
  Object.assign(now, { ms: 4999, random: 0.8 });
  expect(numbers("large")).toEqual(range(0, 1000));
  now.ms = 5000;
  expect(numbers("large")).toEqual(range(2000, 1000));
  expect(numbers("small")).toEqual(range(0, 1000));
  expect(numbers("near")).toEqual([...range(2400, 100), ...range(2000, 400), ...range(0, 500)]);
  zone.apply([{ source: "1", names: [], records: of("large", 999, Infinity) }], change);
  expect(numbers("large")).toEqual(range(0, 999));
});

test("the serial of every zone is the time of the last change", () => {
  const zone = fresh();
  const serials = () =>
    ["cluster.local", "96.10.in-addr.arpa"].map((apex) => {
      const asked = zone.recordsOf(key(apex), TYPE.SOA)?.asked[0];
      return [zone.soa(key(apex)), asked ?? Buffer.alloc(20)].map((record) => record.readUInt32BE(record.length - 20));
    });
  const all = (serial: number) => [
    [serial, serial],
    [serial, serial],
  ];
  expect(serials()).toEqual(all(1));
  zone.say([{ source: "1", names: [], records: [a("a.n.svc.cluster.local", "10.96.0.1")] }], 1_790_000_000);
  expect(serials()).toEqual(all(1_790_000_000));
  zone.say([{ source: "1", names: [], records: [] }], 1_790_000_001);
  expect(serials()).toEqual(all(1_790_000_001));
});

test("what follows `all` replaces everything", () => {
  const zone = fresh();
  const empty = zone.size;
  zone.apply([{ source: "1", names: ["n.svc.cluster.local"], records: [a("a.n.svc.cluster.local", "10.96.0.1")] }], change);
  zone.apply([], { ...change, all: true });
  expect(zone.size).toBe(empty);
  expect(zone.exists(key("svc.cluster.local"))).toBe(true);
});

test("a record that DNS cannot carry is left out and named", () => {
  const leftOut = fresh().apply(
    [{ source: "service n/x", names: [], records: [{ name: "x.n.svc.cluster.local", type: "CNAME", target: `${"a".repeat(64)}.com` }] }],
    change,
  );
  expect(leftOut).toHaveLength(1);
  expect(leftOut[0]).toContain("service n/x");
});

test.for([
  ["10.96.0.0/16", 1, "96.10.in-addr.arpa"],
  ["10.96.0.0/12", 16, "96.10.in-addr.arpa"],
  ["10.0.0.0/8", 1, "10.in-addr.arpa"],
  ["fd00:1::/112", 1, "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"],
] as const)("%s has %i reverse zones", ([cidr, count, first]) => {
  expect(reverseZonesOf(cidr)).toHaveLength(count);
  expect(reverseZonesOf(cidr)[0]).toBe(first);
});

test("whatever came and went, the names are those of what is there now", () => {
  const name = fc.constantFrom(
    "a.n.svc.cluster.local",
    "_p._tcp.a.n.svc.cluster.local",
    "x.a.n.svc.cluster.local",
    "b.m.svc.cluster.local",
    "7.0.96.10.in-addr.arpa",
    "9.9.9.9.in-addr.arpa",
  );
  const change1: fc.Arbitrary<DnsChange> = fc.record({
    source: fc.constantFrom("1", "2", "3"),
    records: fc.array(
      name.map((of) => a(of, "10.96.0.1")),
      { maxLength: 3 },
    ),
    names: fc.array(fc.constantFrom("n.svc.cluster.local", "m.svc.cluster.local", "n.pod.cluster.local"), { maxLength: 2 }),
  });
  const names = ["a.n", "_p._tcp.a.n", "_tcp.a.n", "x.a.n", "b.m", "m", "n"].map((of) => `${of}.svc.cluster.local`);
  fc.assert(
    fc.property(fc.array(change1, { maxLength: 12 }), (history) => {
      const zone = fresh();
      for (const one of history) zone.apply([one], change);
      const now = fresh();
      now.apply([...new Map(history.map((one) => [one.source, one])).values()], change);
      expect(zone.size).toBe(now.size);
      for (const of of [...names, "n.pod.cluster.local", "0.96.10.in-addr.arpa", "9.9.9.9.in-addr.arpa"]) {
        expect(zone.exists(key(of))).toBe(now.exists(key(of)));
        expect(zone.recordsOf(key(of), TYPE.A)?.asked.length).toBe(now.recordsOf(key(of), TYPE.A)?.asked.length);
      }
      const said = Array.from(zone.everything(), ({ source, records }) => records.map((record) => `${source} ${record.name}`)).flat();
      const last = new Map(history.map((one) => [one.source, one.records.map((record) => `${one.source} ${record.name}`)]));
      expect(said.toSorted()).toEqual([...last.values()].flat().toSorted());
      zone.apply([], { ...change, all: true });
      expect([zone.size, [...zone.everything()]]).toEqual([fresh().size, []]); // what went takes nothing any more
    }),
    { numRuns: 1000 },
  );
});
