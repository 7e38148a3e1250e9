import type { Logger } from "pino";
import type { IpFamily } from "#proto/ip.ts";
import { keyOf, type ObjectKey } from "#proto/meta.ts";
import type { Service } from "#proto/service.ts";
import { parseIp } from "#proto/ip.ts";
import { addressIn } from "../admission/outside-addresses.ts";
import { nodeClaims } from "../admission/node.ts";
import { serviceClaims } from "../admission/service.ts";
import type { Store, StoredChange } from "../store/store.ts";
import { createReconciler } from "./run.ts";

/**
 * Services of type LoadBalancer that have no address, because none was left, or there was no pool when they were made: one that becomes free goes to
 * whoever has waited longest.
 */
export interface WaitingDeps {
  readonly store: Store;
  /** Of the pools; without any, nobody waits. */
  readonly families: readonly IpFamily[];
  /** Admits and writes the service as it stands: then it has an address, if there is one. */
  readonly rewrite: (service: ObjectKey) => Promise<void>;
  readonly log: Pick<Logger, "warn">;
}

/** Follows until the signal aborts; `ended` is to be awaited before the store is closed. */
export async function giveToWaiting(
  { store, families, rewrite, log }: WaitingDeps,
  signal: AbortSignal,
): Promise<{ ended(): Promise<void> }> {
  const waiting = new Map<IpFamily, Set<ObjectKey>>(families.map((family) => [family, new Set()]));
  const rewrites = createReconciler({ name: "load-balancer", reconcile: rewrite, log, signal });

  function note(key: ObjectKey, service: Service | undefined): void {
    for (const [family, keys] of waiting)
      if (service && lacks(service, family)) keys.add(key);
      else keys.delete(key);
  }

  function follow(changes: readonly StoredChange[]): void {
    for (const { object, type, previous, revision } of changes) {
      if (object.kind === "Service") note(keyOf(object), type === "DELETED" ? undefined : object);
      for (const family of familiesOf(freed(type === "DELETED" ? undefined : object, previous))) {
        const [longest] = waiting.get(family) ?? [];
        if (longest !== undefined) rewrites.wake(longest, revision);
      }
    }
  }

  if (families.length > 0) {
    const unfollow = store.onCommit(follow);
    signal.addEventListener("abort", unfollow, { once: true });
    for (const object of (await store.list({ kind: "Service" })).items) if (object.kind === "Service") note(keyOf(object), object);
    for (const keys of waiting.values()) for (const key of keys) rewrites.wake(key, store.revision);
  }
  return { ended: () => rewrites.settled() };
}

/** Where somebody else's load balancer stands, none of ours is wanted. */
function lacks({ spec, status }: Service, family: IpFamily): boolean {
  if (spec.type !== "LoadBalancer" || spec.ipFamilies?.includes(family) !== true) return false;
  const entries = status.loadBalancer.ingress ?? [];
  return !entries.some(({ ip = "", ipMode = "VIP" }) => ipMode !== "VIP" || (parseIp(ip)?.family ?? family) === family);
}

type Stored = StoredChange["object"];

function freed(now: Stored | undefined, before: Stored | undefined): string[] {
  const kept = new Set(claimsOf(now));
  return claimsOf(before).filter((claim) => !kept.has(claim));
}

function claimsOf(object: Stored | undefined): string[] {
  return object?.kind === "Service" ? serviceClaims(object) : object?.kind === "Node" ? nodeClaims(object) : [];
}

function familiesOf(claims: readonly string[]): Set<IpFamily> {
  return new Set(claims.flatMap((claim) => parseIp(addressIn(claim) ?? "")?.family ?? []));
}
