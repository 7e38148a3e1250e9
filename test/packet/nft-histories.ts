import fc from "fast-check";
import type { Backend, CompiledService, Frontend } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { aBackend, aCompiled, aFrontend } from "#test/tables.ts";

/** Histories of services: batches of changes, in which no place is ever two frontends', and services meet at few addresses and ports. */

export interface Step {
  readonly key: string;
  readonly next: CompiledService | undefined;
}

const endpoint = (family: IpFamily, n: number): string => (family === "IPv4" ? `172.30.0.${n}` : `fd00:172:30::${n}`);

const aBackendOf = (family: IpFamily): fc.Arbitrary<Backend> =>
  fc
    .record({ n: fc.integer({ min: 1, max: 6 }), weight: fc.constantFrom(1, 1, 1, 2, 3), isLocal: fc.boolean() })
    .map(({ n, weight, isLocal }) => aBackend(endpoint(family, n), 8080, { weight, isLocal }));

const backendsOf = (family: IpFamily): fc.Arbitrary<readonly Backend[]> =>
  fc
    .uniqueArray(aBackendOf(family), { maxLength: 4, selector: ({ address }) => address })
    .map((backends) => backends.toSorted((a, b) => (a.address < b.address ? -1 : 1)));

const policy = fc.constantFrom("reject" as const, "drop" as const);

/** Service `index` has addresses of its own; its node port, too. */
const aFrontendOf = (family: IpFamily, index: number): fc.Arbitrary<Frontend> =>
  fc
    .record({
      scope: fc.constantFrom("cluster" as const, "loadBalancer" as const, "external" as const, "nodePort" as const),
      protocol: fc.constantFrom("TCP" as const, "UDP" as const),
      backends: backendsOf(family),
      whenEmpty: policy,
      outside: fc.option(fc.record({ backends: backendsOf(family), whenEmpty: policy }), { nil: undefined }),
      ranges: fc.constantFrom(undefined, [], ["10.0.0.0/8"], ["10.0.0.0/8", "172.16.0.0/12"]),
      affinitySeconds: fc.constantFrom(undefined, undefined, 60, 600),
    })
    .map(({ scope, outside, ranges, ...rest }) => {
      const v4 = { cluster: `10.96.0.${index}`, loadBalancer: `203.0.113.${index}`, external: "198.51.100.1", nodePort: "" }[scope];
      const v6 = { cluster: `fd00:10:96::${index}`, loadBalancer: `fd01::${index}`, external: "fd02::1", nodePort: "" }[scope];
      return aFrontend({
        ...rest,
        family,
        scope,
        id: `default/s${index}`,
        address: family === "IPv4" ? v4 : v6,
        port: scope === "nodePort" ? 30_000 + index : 80 + index,
        outside: scope === "cluster" ? undefined : outside,
        sourceRanges:
          scope === "loadBalancer" ? ranges?.map((range) => (family === "IPv4" ? range : `fd${range.slice(0, 2)}::/16`)) : undefined,
      });
    });

const aStep = (family: IpFamily): fc.Arbitrary<Step> =>
  fc.integer({ min: 1, max: 5 }).chain((index) =>
    fc
      .option(
        fc.uniqueArray(aFrontendOf(family, index), {
          minLength: 1,
          maxLength: 4,
          selector: ({ scope, protocol }) => `${scope} ${protocol}`,
        }),
        { nil: undefined },
      )
      .map((frontends) => {
        const key = `default/s${index}`;
        return { key, next: frontends && aCompiled(frontends, key) };
      }),
  );

export const anyHistory = (family: IpFamily): fc.Arbitrary<readonly (readonly Step[])[]> =>
  fc.array(fc.uniqueArray(aStep(family), { minLength: 1, maxLength: 3, selector: ({ key }) => key }), { maxLength: 10 });
