import fc from "fast-check";
import { expect, test } from "vitest";
import type { Frontend } from "#agent/compile/table.ts";
import { IpvsState } from "#agent/dataplane/ipvs/state.ts";
import { aBackend, aFrontend, aHostTable } from "#test/tables.ts";
import { applySteps, emptyModel, linesOf, type IpvsModel } from "./ipvs-model.ts";

// Few places, so that services take over each other's, and endpoints come back while they are draining.
const aChoice = fc.uniqueArray(fc.integer({ min: 1, max: 5 }), { maxLength: 4 }).map((numbers) => numbers.map((n) => aBackend(`172.30.0.${n}`, 8080, { weight: 1 + (n % 2), isLocal: n === 1 }))); // prettier-ignore
const someFrontend: fc.Arbitrary<Frontend> = fc
  .record({
    scope: fc.constantFrom("cluster" as const, "loadBalancer" as const, "external" as const, "nodePort" as const),
    number: fc.integer({ min: 1, max: 3 }),
    protocol: fc.constantFrom("TCP" as const, "UDP" as const),
    backends: aChoice,
    outside: fc.option(aChoice, { nil: undefined }),
    sourceRanges: fc.option(fc.constantFrom(["172.30.0.0/24"], ["0.0.0.0/0"], ["10.0.0.0/8", "172.30.255.1/32"]), { nil: undefined }),
    affinitySeconds: fc.constantFrom(undefined, 60),
    scheduler: fc.constantFrom(undefined, "lc", "sh", "nonsense"),
    whenEmpty: fc.constantFrom("reject" as const, "drop" as const),
  })
  .map(({ scope, number, outside, sourceRanges, ...rest }) => {
    const address = { cluster: "10.96.0.", loadBalancer: "198.18.0.", external: "198.19.0.", nodePort: "" }[scope];
    return aFrontend({
      ...rest,
      scope,
      address: scope === "nodePort" ? "" : `${address}${number}`,
      port: 30_000 + (scope === "nodePort" ? number : 0),
      outside: outside && scope !== "cluster" ? { backends: outside, whenEmpty: "drop" } : undefined,
      sourceRanges: scope === "loadBalancer" ? sourceRanges : undefined,
    });
  });

const placeOf = ({ address, protocol, port }: Frontend): string => `${address} ${protocol} ${port}`;
const someFrontends = fc.uniqueArray(someFrontend, { maxLength: 8, selector: placeOf });
const local = { localCidrs: ["10.200.1.0/24"] };
const first = aHostTable({ ...local, nodeIps: ["172.30.0.9"] });
const hosts = [
  first,
  aHostTable({ ...local, nodeIps: ["172.30.0.9", "172.30.0.10"], nodePortCidrs: ["172.30.0.8/31", "172.30.0.10/32"] }),
  aHostTable({ ...local, nodeIps: ["172.30.0.10"], nodePortCidrs: ["172.30.0.10/32"] }),
];
const hasScheduler = (name: string): boolean => name !== "nonsense";

/** Marks are numbers that differ; which place has which is what must agree, and what only drains is not there in a fresh kernel. */
function meaningOf({ sets, servers }: IpvsModel): unknown {
  const byMark = new Map([...servers].map(([name, server]) => [name, { ...server, reals: [...server.reals].filter(([, weight]) => weight > 0).toSorted() }])); // prettier-ignore
  const meaning = (mark: number): unknown => byMark.get(`-f ${mark}`) ?? (mark < 0xf800010 ? mark : "no server");
  const plain = [...byMark].filter(([name]) => !name.startsWith("-f")).filter(([, { reals }]) => reals.length > 0);
  return {
    sets: [...sets].map(([name, entries]) => [name, [...entries].map(([entry, mark]) => [entry, meaning(mark)]).toSorted()]),
    plain: plain.toSorted(([a], [b]) => (a < b ? -1 : 1)),
  };
}

const someRounds = fc.array(
  fc.tuple(someFrontends, fc.constantFrom("update", "sync", "idle", "killed"), fc.record({ share: fc.double({ min: 0, max: 1, noNaN: true }), other: fc.constantFrom(...hosts) })), // prettier-ignore
  { minLength: 1, maxLength: 6 },
);

test("any sequence of changes, with syncs, kills and idle connections in between, ends where one sync of the final table does", () => {
  fc.assert(
    fc.property(someRounds, (rounds) => {
      let model = emptyModel("IPv4");
      let host = first;
      let state = new IpvsState("IPv4", { host, hasScheduler });
      model = applySteps(model, state.takeSteps());
      let before: readonly Frontend[] = [];
      for (const [after, how, { share, other }] of rounds) {
        if (how === "sync") {
          // As an agent that starts, or whose host has other addresses now: from what the kernel holds.
          host = other;
          state = new IpvsState("IPv4", { host, hasScheduler, held: heldIn(model) });
        } else for (const frontend of before) state.remove(frontend);
        for (const frontend of after) state.put(frontend);
        if (how === "killed") {
          // The tools got so many lines; the next agent starts from what that made.
          const lines = [...linesOf(model, state.takeSteps())];
          model = lines[Math.ceil(lines.length * share) - 1]?.after ?? model;
          state = new IpvsState("IPv4", { host, hasScheduler, held: heldIn(model) });
          for (const frontend of after) state.put(frontend);
        }
        model = applySteps(model, state.takeSteps());
        if (how === "idle")
          model = applySteps(
            model,
            state.takeIdle((_key, real) => real.startsWith("172.30.0.2")),
          );
        before = after;
        // No place is ever sent to a virtual server that is not there.
        for (const entries of model.sets.values())
          for (const mark of entries.values()) if (mark >= 0xf800010) expect(model.servers.has(`-f ${mark}`)).toBe(true);
      }
      model = applySteps(
        model,
        state.takeIdle(() => false),
      );
      const fresh = new IpvsState("IPv4", { host, hasScheduler });
      for (const frontend of before) fresh.put(frontend);
      expect(meaningOf(model)).toEqual(meaningOf(applySteps(emptyModel("IPv4"), fresh.takeSteps())));
      expect(state.draining.size).toBe(0);
    }),
    { numRuns: 300 },
  );
});

function heldIn({ sets, servers }: IpvsModel): NonNullable<ConstructorParameters<typeof IpvsState>[1]["held"]> {
  const named = [...sets].map(([name, entries]) => [name.slice("FLV-4-".length), new Map(entries)] as const);
  const keyed = [...servers].map(
    ([name, { reals, ...server }]) =>
      [name.startsWith("-f ") ? Number(name.slice(3)) : name, { ...server, reals: new Map(reals), address: undefined }] as const,
  );
  return { sets: new Map(named) as never, servers: new Map(keyed) };
}
