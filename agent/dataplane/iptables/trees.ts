import type { Frontend } from "#agent/compile/table.ts";
import { ChainTree, type ChainTreeOptions } from "./chain-tree.ts";
import type { Prefix } from "./tree-node.ts";
import { addressChain, addressKey, PORT_KEY_BITS, portChain, portKey, portRange, prefixWord, protocolWord } from "./names.ts";
import type { Words } from "./words.ts";

/** The two kinds of trees: by address, and by protocol and port. */

export interface TreeUse {
  readonly root: string;
  /** Stands in the names of the branches; no two trees of a table have the same for the same kind. */
  readonly tag: string;
  readonly at: ChainTreeOptions["at"];
  readonly concerns: (frontend: Frontend) => boolean;
  readonly rulesOf: ChainTreeOptions["rulesOf"];
  readonly weightOf?: NonNullable<ChainTreeOptions["weightOf"]>;
  readonly first?: readonly string[];
  readonly last?: readonly string[];
  readonly presence?: ChainTreeOptions["presence"];
  /** packet: by where it is going. source: by where it comes from. connection: by where its first packet was going before it was translated. */
  readonly of?: "packet" | "source" | "connection";
}

export function addressTree(words: Words, { tag, of = "packet", presence = "while-needed", ...use }: TreeUse): ChainTree {
  const isWhole = ({ bits }: Prefix): boolean => bits === words.width;
  const matchOf = (prefix: Prefix): string => {
    const word = prefixWord(words, prefix);
    if (of !== "connection") return `${of === "packet" ? "-d" : "-s"} ${word}`;
    return `-m conntrack --ctorigdst ${isWhole(prefix) ? word.slice(0, word.indexOf("/")) : word}`;
  };
  const chainOf = (prefix: Prefix): string => addressChain(words, tag, prefix);
  return new ChainTree({ ...use, presence, width: words.width, keyOf: ({ address }) => addressKey(address), chainOf, matchOf });
}

export function portTree(words: Words, { tag, of = "packet", presence = "while-needed", ...use }: Omit<TreeUse, "at">): ChainTree {
  const matchOf = (prefix: Prefix): string => {
    const { protocol, ports } = portRange(prefix);
    const word = protocolWord(protocol);
    if (ports === undefined) return `-p ${word}`;
    return of === "packet" ? `-p ${word} -m ${word} --dport ${ports}` : `-p ${word} -m conntrack --ctorigdstport ${ports}`;
  };
  const chainOf = (prefix: Prefix): string => portChain(words, tag, prefix);
  return new ChainTree({ ...use, at: "nodePort", presence, width: PORT_KEY_BITS, keyOf: portKey, chainOf, matchOf });
}
