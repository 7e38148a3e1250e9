import fc from "fast-check";
import { expect, test } from "vitest";
import type { CompiledService, ServiceChange } from "#agent/compile/table.ts";
import { frontendChanges } from "#agent/dataplane/frontends.ts";
import { heldOf, wantedOf } from "#agent/dataplane/nftables/held.ts";
import { ElementSums, NOT_COMPARED, tableDrift, type TableSum } from "#agent/dataplane/nftables/listing.ts";
import { planSync, planTidy, planUpdate } from "#agent/dataplane/nftables/plan.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { anyHistory } from "./nft-histories.ts";
import { applyNft, emptyNft, type NftRuleset, type NftTable } from "./nft-model.ts";

const host = aHostTable({ nodeIps: ["172.30.0.1"], localCidrs: ["10.200.1.0/24"] });
const NOTHING = { isCurrent: false, chains: [] };

function tableIn(ruleset: NftRuleset): NftTable {
  const table = ruleset.tables.get("ip fairlead");
  if (!table) throw new Error("no table");
  return table;
}

/** Without the maps of slots that nobody needs any more: they go with the next sync. */
function shown({ sets, chains }: NftTable): string {
  const used = [...(sets.get("slots")?.elements ?? [])].filter(([, verdict]) => (sets.get(mapOf(verdict))?.elements.size ?? 0) > 0);
  const unused = (name: string): boolean => /slot_\d+$|backends_\d+$/.test(name) && !used.some(([, verdict]) => [verdict.slice(5), mapOf(verdict)].includes(name)); // prettier-ignore
  const isShown = ([name]: readonly [string, unknown]): boolean => !unused(name);
  const elements = (name: string, all: ReadonlyMap<string, string>): string[] => {
    const some = name === "slots" ? used : name === "writes" ? [] : [...all];
    return some.map(([key, value]) => `${key} : ${value}`).toSorted();
  };
  return JSON.stringify(
    {
      sets: [...sets].filter(isShown).map(([name, set]) => [name, set.declaration, elements(name, set.elements)]).toSorted(byName), // prettier-ignore
      chains: [...chains].filter(isShown).toSorted(byName),
    },
    undefined,
    1,
  );
}

const mapOf = (verdict: string): string => verdict.slice(5).replace("slot_", "backends_");
const byName = ([a]: readonly unknown[], [b]: readonly unknown[]): number => (String(a) < String(b) ? -1 : 1);

function sumOf({ sets, chains }: NftTable): TableSum {
  const sums = new ElementSums();
  for (const [map, { kind, elements }] of sets)
    for (const [key, value] of elements) if (!NOT_COMPARED.has(map)) sums.add({ map, key, value: kind === "set" ? undefined : value });
  const empty = [...sets.keys()].map((map) => [map, { count: 0, sum: 0 }] as const);
  return { elements: new Map([...empty, ...sums.sums]), rules: new Map([...chains].map(([chain, { rules }]) => [chain, rules.length])) };
}

test("any sequence of changes ends in the table that one sync of the last state makes, and its sums are known all along", () => {
  fc.assert(
    fc.property(anyHistory("IPv4"), (batches) => {
      const { held, own } = heldOf(aTable([], host), "IPv4", { liberal: false });
      let ruleset = applyNft(emptyNft(), planSync({ held, own }, NOTHING, "0x1 . 0x1"));
      const services = new Map<string, CompiledService>();
      batches.forEach((batch, i) => {
        const changes = batch.map(({ key, next }): ServiceChange => ({ key, previous: services.get(key), next }));
        for (const { key, next } of batch) if (next) services.set(key, next);
        else services.delete(key); // prettier-ignore
        const frontends = changes.flatMap((change) => frontendChanges(change, "IPv4"));
        ruleset = applyNft(ruleset, planUpdate(held, frontends, `0x1 . 0x${(2 * i + 2).toString(16)}`));
        if (i % 2 === 0) ruleset = applyNft(ruleset, planTidy(held, `0x1 . 0x${(2 * i + 3).toString(16)}`));
        if (held.idle.size === 0) expect(tableDrift(wantedOf(held), sumOf(tableIn(ruleset)))).toEqual([]);
      });
      ruleset = applyNft(ruleset, planTidy(held, "0x2 . 0x1"));
      const whole = heldOf({ host, services }, "IPv4", { liberal: false });
      expect(shown(tableIn(ruleset))).toBe(shown(tableIn(applyNft(emptyNft(), planSync(whole, NOTHING, "0x3 . 0x1")))));
      // The same over what is there: nothing else is left, but for chains that can go one transaction later.
      const again = heldOf({ host, services }, "IPv4", { liberal: false });
      const chains = [...tableIn(ruleset).chains.keys()];
      ruleset = applyNft(ruleset, planSync(again, { isCurrent: true, chains }, "0x4 . 0x1"));
      ruleset = applyNft(ruleset, planTidy(again.held, "0x4 . 0x2"));
      expect(tableDrift(wantedOf(again.held), sumOf(tableIn(ruleset)))).toEqual([]);
      expect(tableIn(ruleset).chains.size).toBe(wantedOf(again.held).rules.size);
    }),
    { numRuns: 60 },
  );
}, 60_000);

test("a change of one endpoint among 1,000 services is a few words", () => {
  const service = (i: number, last: number): CompiledService =>
    aCompiled([aFrontend({ id: `default/s${i}`, address: `10.96.${i >> 8}.${i & 255}`, backends: [aBackend(`172.30.1.${last}`), aBackend("172.30.1.9")] })], `default/s${i}`); // prettier-ignore
  const services = Array.from({ length: 1_000 }, (_, i) => service(i, 1));
  const { held, own } = heldOf(aTable(services, host), "IPv4", { liberal: false });
  planSync({ held, own }, NOTHING, "0x1 . 0x1");
  const text = planUpdate(held, frontendChanges({ key: "default/s7", previous: service(7, 1), next: service(7, 2) }, "IPv4"), "0x1 . 0x2");
  expect(text.split("\n").slice(0, -1)).toEqual([
    "delete element ip fairlead backends_0 { 10.96.0.7 . tcp . 80 }",
    "add element ip fairlead backends_0 { 10.96.0.7 . tcp . 80 : 172.30.1.2 . 8080 }",
    "delete element ip fairlead writes { 0x1 . 0x1 }",
    "add element ip fairlead writes { 0x1 . 0x2 }",
  ]);
});
