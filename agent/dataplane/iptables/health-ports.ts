import type { CompiledService, Frontend } from "#agent/compile/table.ts";
import { barePlace } from "./bare-place.ts";
import type { ChainTree } from "./chain-tree.ts";
import { portWord } from "./names.ts";
import { chainsOf } from "./render-host.ts";
import { portTree } from "./trees.ts";
import type { Words } from "./words.ts";

/** filter INPUT: load balancers ask the health ports, at which the agent itself listens, also where others drop what comes in. */

/** Nothing of it is in the tables' way of frontends: `followHealth` alone puts and removes. */
export function healthTree(words: Words): ChainTree {
  return portTree(words, {
    root: chainsOf(words).health,
    tag: "HEALTH-",
    concerns: () => false,
    rulesOf: (ports) => {
      const leaf = ports.map(({ port }) => `-p tcp -m tcp --dport ${portWord(port)} -j ACCEPT`);
      return { weight: leaf.length, leaf: () => leaf, last: () => [], own: new Map() };
    },
  });
}

export function followHealth(tree: ChainTree, changes: readonly Partial<Record<"previous" | "next", CompiledService | undefined>>[]): void {
  for (const { previous } of changes) if (previous?.healthCheck) tree.remove(asFrontend(previous));
  for (const { next } of changes) if (next?.healthCheck) tree.put(asFrontend(next));
}

/** As a tree of ports knows it. */
function asFrontend({ key, healthCheck }: CompiledService): Frontend {
  return barePlace({ id: key, family: "IPv4", scope: "nodePort", address: "", port: healthCheck?.port ?? 0 });
}
