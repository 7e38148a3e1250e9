import type { NftWords, Keyed } from "./words.ts";

/**
 * Virtual addresses and node ports are looked up alike, in maps of their own: a place is `address . protocol . port` or `protocol . port`. And each
 * has two sides: whom everybody gets (or this host and its containers), and whom those from off the host get under externalTrafficPolicy Local.
 */
export type Side = "all" | "outside";

export interface Space {
  readonly prefix: "" | "node_";
  /** The place that a packet is for. */
  readonly place: string;
  /** The place as types. */
  readonly types: string;
  /** The place as expressions, of which nft takes the types. */
  readonly typeOf: string;
  readonly client: Keyed;
  /** Where the slots of each side begin in the map of all slots. */
  readonly firstSlot: Record<Side, number>;
}

/** More slots than any frontend has. */
const SLOTS_EACH = 65_536;

export function spacesOf(words: NftWords): { readonly vip: Space; readonly node: Space } {
  const { ip, address } = words;
  const node = "meta l4proto . th dport";
  return {
    vip: {
      prefix: "",
      place: `${ip} daddr . ${node}`,
      types: `${address} . inet_proto . inet_service`,
      typeOf: `${ip} daddr . ${node}`,
      client: words.client,
      firstSlot: { all: 0, outside: SLOTS_EACH },
    },
    node: {
      prefix: "node_",
      place: node,
      types: "inet_proto . inet_service",
      typeOf: node,
      client: words.nodeClient,
      firstSlot: { all: 2 * SLOTS_EACH, outside: 3 * SLOTS_EACH },
    },
  };
}

export function sideWord(side: Side): "" | "local_" {
  return side === "outside" ? "local_" : "";
}
