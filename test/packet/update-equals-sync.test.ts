import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Backend, CompiledService, Frontend, ServiceChange } from "#agent/compile/table.ts";
import { frontendChanges } from "#agent/dataplane/frontends.ts";
import { parseListing } from "#agent/dataplane/iptables/listing.ts";
import { applyChanges, planSync, rulesOf, type Rules } from "#agent/dataplane/iptables/plan.ts";
import { sumOf } from "#agent/dataplane/iptables/render.ts";
import { wholeText } from "#agent/dataplane/tool-input.ts";
import type { IpFamily } from "#proto/ip.ts";
import { aBackend, aCompiled, aFrontend, aHostTable } from "#test/tables.ts";
import { applyRestore, emptyRuleset, saveOf, type Ruleset } from "./iptables-model.ts";

/** Rendered deltas, applied to the state before them by a strict model of iptables-restore, give what one sync of the last table gives. */

interface Ground {
  readonly family: IpFamily;
  readonly backend: (n: number) => Backend;
  /** Few, so that services meet in leaves, take over each other's, and branches come and go. */
  readonly virtual: readonly string[];
  readonly other: readonly string[];
  readonly ranges: readonly string[];
}

const hosts = [
  aHostTable({
    serviceCidrs: ["10.96.0.0/16", "fd10::/64"],
    nodeIps: ["172.30.0.1", "fd30::1"],
    localCidrs: ["10.200.1.0/24", "fd20::/64"],
  }),
  aHostTable({ serviceCidrs: ["10.96.0.0/16", "fd10::/64"], nodePortCidrs: ["172.30.0.0/24", "fd30::/64"] }),
];

const grounds: readonly Ground[] = [
  {
    family: "IPv4",
    backend: (n) => aBackend(`172.30.0.${n}`, 8080, { isLocal: n % 4 === 0, weight: 1 + (n % 3) }),
    virtual: [1, 2, 3, 17, 18, 40, 200].map((n) => `10.96.0.${n}`).concat("10.96.77.1", "10.96.200.1", "10.96.255.254"),
    other: [1, 2, 3, 9, 64, 129].map((n) => `203.0.113.${n}`).concat("192.0.2.1", "8.8.8.8"),
    ranges: ["198.51.100.0/24", "172.30.0.0/24"],
  },
  {
    family: "IPv6",
    backend: (n) => aBackend(`fd30::${n}`, 8080, { isLocal: n % 4 === 0, weight: 1 + (n % 3) }),
    virtual: [1, 2, 3, 17, 18, 40, 200].map((n) => `fd10::${n}`).concat("fd10::ffff:0:1", "fd10::8000:0:0:1", "fd10::8000:0:0:2"),
    other: [1, 2, 3, 9, 64].map((n) => `2001:db8:1:2:3:4:5:${n}`).concat("2001:db8::1", "2a00::1"),
    ranges: ["2001:db8:ffff::/48", "fd30::/64"],
  },
];

const backendsOf = ({ backend }: Ground): fc.Arbitrary<readonly Backend[]> =>
  fc
    .oneof(fc.constant([]), fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { maxLength: 11 }))
    .map((numbers) => numbers.toSorted((a, b) => a - b).map(backend));

const aFrontendOf = (ground: Ground, index: number): fc.Arbitrary<Frontend> => {
  const whenEmpty = fc.constantFrom("reject" as const, "drop" as const);
  return fc
    .record({
      scope: fc.constantFrom("cluster" as const, "cluster" as const, "loadBalancer" as const, "external" as const, "nodePort" as const),
      virtual: fc.constantFrom(...ground.virtual),
      other: fc.constantFrom(...ground.other),
      protocol: fc.constantFrom("TCP" as const, "UDP" as const),
      port: fc.constantFrom(80, 443, 30_080, 30_081, 31_000),
      backends: backendsOf(ground),
      whenEmpty,
      outside: fc.option(fc.record({ backends: backendsOf(ground), whenEmpty }), { nil: undefined }),
      sourceRanges: fc.option(fc.subarray([...ground.ranges]), { nil: undefined }),
      affinitySeconds: fc.constantFrom(undefined, undefined, 60),
    })
    .map(({ scope, virtual, other, outside, sourceRanges, ...rest }) =>
      aFrontend({
        ...rest,
        id: `default/s${index}`,
        family: ground.family,
        scope,
        address: scope === "cluster" ? virtual : scope === "nodePort" ? "" : other,
        outside: scope === "cluster" ? undefined : outside,
        sourceRanges: scope === "loadBalancer" ? sourceRanges : undefined,
      }),
    );
};

const placeOf = ({ address, protocol, port }: Frontend): string => `${address} ${protocol} ${port}`;

const aStep = (ground: Ground) =>
  fc.integer({ min: 0, max: 9 }).chain((index) =>
    fc.record({
      key: fc.constant(`default/s${index}`),
      frontends: fc.option(fc.uniqueArray(aFrontendOf(ground, index), { minLength: 1, maxLength: 5, selector: placeOf }), {
        nil: undefined,
      }),
    }),
  );

const nothing = { nat: parseListing({ prefix: "FL-" }, ""), filter: parseListing({ prefix: "FL-" }, "") };

/** The database gives a place to one service at a time: who asks for one that is taken does not get it. */
function withoutTaken(services: ReadonlyMap<string, CompiledService>, key: string, frontends: readonly Frontend[]): readonly Frontend[] {
  const others = [...services.values()].filter((service) => service.key !== key).flatMap((service) => service.frontends);
  const taken = new Set(others.map((other) => (other.address === "" ? placeOf(other) : other.address)));
  return frontends.filter((frontend) => !taken.has(frontend.address === "" ? placeOf(frontend) : frontend.address));
}

describe.for(grounds)("$family", (ground) => {
  const { family } = ground;

  test.for(hosts.map((host, i) => ({ name: ["everywhere", "in nodePortCidrs"][i] ?? "", host })))(
    "any sequence of changes ends in the rules that one sync of the final table makes, node ports $name",
    ({ host }) => {
      const synced = (services: ReadonlyMap<string, CompiledService>): { rules: Rules; ruleset: Ruleset } => {
        const rules = rulesOf({ host, services }, { family });
        return { rules, ruleset: applyRestore(emptyRuleset(), wholeText(planSync(rules, nothing, "sync"))) };
      };
      fc.assert(
        fc.property(fc.array(fc.array(aStep(ground), { maxLength: 4 }), { maxLength: 12 }), (batches) => {
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
            const frontends = [...changes.values()].flatMap((change) => frontendChanges(change, family));
            ruleset = applyRestore(ruleset, applyChanges(rules, frontends, "update"));
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
        { numRuns: 150 },
      );
    },
  );
});
