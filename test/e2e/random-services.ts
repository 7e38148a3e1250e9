import type { Backend, CompiledService, Frontend, ServiceChange, ServiceKey } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { aBackend, aCompiled, aFrontend } from "#test/tables.ts";

/** Services of every kind that a driver may be given, at few places. The same seed gives the same services. */

export type Below = (limit: number) => number;

export function randomBelow(seed: number): Below {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * limit);
  };
}

/** The n-th service: its places are its own, whatever it is at the moment. */
export function aRandomService(n: number, family: IpFamily, below: Below): CompiledService {
  const four = family === "IPv4";
  const protocol = n % 5 === 0 ? "UDP" : "TCP";
  const verdict = () => (below(3) === 0 ? ("drop" as const) : ("reject" as const));
  const backends = (local: boolean): Backend[] =>
    Array.from({ length: below(11) }, (_, i) => {
      const address = local ? localAddress(four, i) : four ? `172.30.1.${i * 3 + 1}` : `fd30::1:${i * 3 + 1}`;
      return aBackend(address, 8080, { isLocal: local, weight: 1 + below(3) });
    });
  const affinitySeconds = below(5) === 0 ? 60 : undefined;
  const common = { id: `default/s${n}:http`, family, protocol, affinitySeconds } as const;
  const place = (more: Partial<Frontend>): Frontend =>
    aFrontend({ ...common, backends: backends(below(4) === 0), whenEmpty: verdict(), ...more });
  const outside = below(3) === 0 ? { backends: backends(true), whenEmpty: verdict() } : undefined;
  const ranges = four ? ["198.51.100.0/24", "172.30.0.0/16"] : ["2001:db8:ffff::/48", "fd30::/64"];
  const sourceRanges = below(3) === 0 ? ranges.slice(below(3)) : undefined;
  const balanced = four ? `203.0.113.${n}` : `2001:db8:1:2:3:4:5:${n.toString(16)}`;
  const all = [
    place({ address: four ? `10.96.${n % 3}.${n}` : `fd10::${(n % 3).toString(16)}:${n.toString(16)}` }),
    place({ scope: "external", address: four ? `192.0.2.${n}` : `2001:db8::${n.toString(16)}`, outside }),
    place({ scope: "loadBalancer", address: balanced, port: 443, outside, sourceRanges }),
    place({ scope: "nodePort", address: "", port: 30_000 + n * 7, outside }),
  ];
  return aCompiled(
    all.filter((_, i) => i === 0 || below(2) === 0),
    `default/s${n}`,
  );
}

export interface RandomHistory {
  readonly batches: readonly (readonly ServiceChange[])[];
  /** What there is after the last. */
  readonly services: ReadonlyMap<ServiceKey, CompiledService>;
}

/** Services come, change and go, a few at a time; at least so many changes. */
export function aRandomHistory(
  family: IpFamily,
  { seed, places, changes }: { readonly seed: number; readonly places: number; readonly changes: number },
): RandomHistory {
  const below = randomBelow(seed);
  const services = new Map<ServiceKey, CompiledService>();
  const batches: ServiceChange[][] = [];
  for (let changed = 0; changed < changes;) {
    const numbers = new Set(Array.from({ length: 1 + below(9) }, () => below(places)));
    const batch = [...numbers].map((n) => {
      const key = `default/s${n}`;
      return { key, previous: services.get(key), next: below(4) === 0 ? undefined : aRandomService(n, family, below) };
    });
    for (const { key, next } of batch) {
      if (next) services.set(key, next);
      else services.delete(key);
    }
    batches.push(batch);
    changed += batch.length;
  }
  return { batches, services };
}

function localAddress(four: boolean, i: number): string {
  if (i === 0) return four ? "172.30.0.99" : "fd30::99"; // in no container network
  return four ? `10.200.1.${i + 10}` : `fd30:c:1::${i + 10}`;
}
