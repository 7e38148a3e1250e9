import type { Client } from "#proto/client.ts";
import { ROUTED_CIDRS_ANNOTATION } from "#proto/node.ts";
import { refusedCidrs } from "./refused-cidrs.ts";

/** The networks behind this host, in its Node. */
export interface Announcement {
  /** Of its container bridges. */
  readonly behind: readonly string[];
  /** Those to which other hosts shall have a route (--docker-routed); undefined = not known now: what stands there stays. */
  readonly routed: readonly string[] | undefined;
}

/** More stand in no Node. */
const MAX_CIDRS = 64;
/** One that was refused may have hidden what is wrong with another. */
const TRIES = 4;

/** Says what the server takes, and returns what it refuses, each with the reason: one bad network keeps no other back. */
export async function announce(
  { client, nodeName }: { readonly client: Pick<Client, "patch">; readonly nodeName: string },
  { behind, routed }: Announcement,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const refused = new Map<string, string>();
  for (let tries = 1; ; tries++) {
    const left = (all: readonly string[]): string[] => all.filter((cidr) => !refused.has(cidr));
    const lists = {
      podCIDRs: left([...new Set([...(routed ?? []), ...behind])].toSorted()).slice(0, MAX_CIDRS),
      routed: left(routed ?? []),
    };
    const marks = { annotations: { [ROUTED_CIDRS_ANNOTATION]: lists.routed.length > 0 ? lists.routed.join(",") : null } };
    try {
      const change = { ...(routed && { metadata: marks }), spec: { podCIDRs: lists.podCIDRs } };
      await client.patch("Node", nodeName, change, { signal });
      return refused;
    } catch (error) {
      const more = refusedCidrs(lists, error);
      if (!more || tries >= TRIES) throw error;
      for (const [cidr, why] of more) refused.set(cidr, why);
    }
  }
}
