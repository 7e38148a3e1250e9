import fc from "fast-check";
import { expect, test } from "vitest";
import type { CompiledService, Frontend, ServiceChange } from "#agent/compile/table.ts";
import { parseListing } from "#agent/dataplane/iptables/listing.ts";
import { frontendChanges } from "#agent/dataplane/frontends.ts";
import { applyChanges, planSync, rulesOf, type Rules } from "#agent/dataplane/iptables/plan.ts";
import { sumOf } from "#agent/dataplane/iptables/render.ts";
import { aCompiled, aFrontend, backend, host } from "./flows.ts";
import { applyRestore, emptyRuleset, saveOf, type Ruleset } from "./iptables-model.ts";

// Few addresses, so that services meet in leaves, take over each other's, and branches come and go.
const aFrontendOf = (index: number): fc.Arbitrary<Frontend> =>
  fc
    .record({
      address: fc.constantFrom("10.96.0.1", "10.96.0.17", "10.96.200.1"),
      protocol: fc.constantFrom("TCP" as const, "UDP" as const),
      port: fc.constantFrom(80, 443),
      endpoints: fc.oneof(fc.constant([]), fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 11 })),
      affinitySeconds: fc.constantFrom(undefined, undefined, 60),
    })
    .map(({ endpoints, ...rest }) =>
      aFrontend(
        endpoints.toSorted((a, b) => a - b).map((n) => backend(`172.30.0.${n}`)),
        { ...rest, id: `default/s${index}` },
      ),
    );

const aStep = fc.integer({ min: 0, max: 4 }).chain((index) =>
  fc.record({
    key: fc.constant(`default/s${index}`),
    frontends: fc.option(
      fc.uniqueArray(aFrontendOf(index), {
        minLength: 1,
        maxLength: 3,
        selector: ({ address, protocol, port }) => `${address}${protocol}${port}`,
      }),
      { nil: undefined },
    ),
  }),
);

const nothing = { nat: parseListing({ prefix: "FL-" }, ""), filter: parseListing({ prefix: "FL-" }, "") };

function synced(services: ReadonlyMap<string, CompiledService>): { rules: Rules; ruleset: Ruleset } {
  const rules = rulesOf({ host, services }, { family: "IPv4" });
  return { rules, ruleset: applyRestore(emptyRuleset(), planSync(rules, nothing, "sync")) };
}

/** The database gives an address to one service at a time: who asks for one that is taken does not get it. */
function withoutTaken(services: ReadonlyMap<string, CompiledService>, key: string, frontends: readonly Frontend[]): readonly Frontend[] {
  const others = [...services.values()].filter((service) => service.key !== key).flatMap((service) => service.frontends);
  return frontends.filter(({ address }) => !others.some((other) => other.address === address));
}

test("any sequence of changes ends in the rules that one sync of the final table makes", () => {
  fc.assert(
    fc.property(fc.array(fc.array(aStep, { maxLength: 3 }), { maxLength: 12 }), (batches) => {
      const services = new Map<string, CompiledService>();
      let { rules, ruleset } = synced(services);
      for (const batch of batches) {
        const changes = new Map<string, ServiceChange>();
        for (const { key, frontends } of batch) {
          const allowed = withoutTaken(services, key, frontends ?? []);
          const next = allowed.length === 0 ? undefined : aCompiled(allowed, key);
          changes.set(key, { key, previous: changes.has(key) ? changes.get(key)?.previous : services.get(key), next });
          if (next) services.set(key, next);
          else services.delete(key);
        }
        ruleset = applyRestore(
          ruleset,
          applyChanges(
            rules,
            [...changes.values()].flatMap((change) => frontendChanges(change, "IPv4")),
            "update",
          ),
        );
      }
      const wanted = synced(services);
      expect(saveOf(ruleset)).toBe(saveOf(wanted.ruleset));
      for (const table of ["nat", "filter"] as const) {
        const held = [...(ruleset.tables.get(table) ?? [])]
          .filter(([chain]) => chain.startsWith("FL-"))
          .map(([chain, lines]) => [chain, sumOf(lines)] as const);
        expect(new Map(held)).toEqual(rules[table].sums);
      }
      rules = wanted.rules;
    }),
    { numRuns: 300 },
  );
});
