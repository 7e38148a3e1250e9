import type { Frontend } from "#agent/compile/table.ts";
import type { FrontendChange } from "../frontends.ts";
import { wholeText } from "../tool-input.ts";
import type { ChainEdits, ChainTree } from "./chain-tree.ts";
import { hookLines, hookRewrite, isOurChain, type Listing } from "./listing.ts";
import { renderSection, sumOf, type ChainSum, type TableName } from "./render.ts";
import { chainsOf, DOCKER_USER, type Jump } from "./render-host.ts";
import type { Where } from "./service-range.ts";
import type { Words } from "./words.ts";

/** One table of iptables: its trees, its other chains and its jumps; what the kernel holds of them, and the text that brings it to the next state. */

export interface TableOptions {
  readonly table: TableName;
  readonly words: Words;
  readonly trees: readonly ChainTree[];
  readonly whereOf: (frontend: Frontend) => Where;
  /** Chains that are in no tree, as they are to be now. */
  readonly fixedChains: () => ReadonlyMap<string, readonly string[]>;
  /** In the order in which they must stand at the head of each hook. */
  readonly jumps: () => readonly Jump[];
}

export class TablePlan {
  readonly table: TableName;
  readonly words: Words;
  readonly #options: TableOptions;
  #fixed: ReadonlyMap<string, readonly string[]> = new Map();
  #jumps: readonly Jump[] = [];
  readonly #sums = new Map<string, ChainSum>();
  #canary = "";
  #hasDockerUser = false;
  #later: Iterable<Frontend> = [];

  constructor(options: TableOptions) {
    this.#options = options;
    this.table = options.table;
    this.words = options.words;
  }

  /** What the kernel holds, or is about to. */
  get jumps(): readonly Jump[] {
    return this.#jumps;
  }

  /** With the one in DOCKER-USER, whether that was there when the table was written or not. */
  get wantedJumps(): readonly Jump[] {
    return this.#options.jumps();
  }

  get sums(): ReadonlyMap<string, ChainSum> {
    return this.#sums;
  }

  /** The list of xt_recent that is there as long as the last write of this table is. */
  get canary(): string {
    return this.#canary;
  }

  /** Chains through which all services go, each with the list that its last rule names. */
  get guards(): readonly { readonly chain: string; readonly list: string }[] {
    const { words, table } = this;
    return guardedChains(words)
      .filter((chain) => this.#sums.has(chain))
      .map((chain) => ({ chain, list: guardList(words, table, chain) }));
  }

  put(frontends: readonly Frontend[]): void {
    const { trees, whereOf } = this.#options;
    const at: Record<Where, Frontend[]> = { range: [], outside: [], nodePort: [] };
    for (const frontend of frontends) at[whereOf(frontend)].push(frontend);
    for (const tree of trees) tree.putAll(at[tree.at].filter((frontend) => tree.concerns(frontend)));
  }

  /** The same, when the next text is asked for: whoever reads has another table to read until then. */
  putLater(frontends: Iterable<Frontend>): void {
    this.#later = frontends;
  }

  /** Frontends that are to be here, besides what is. */
  putNext(changes: readonly FrontendChange[]): void {
    this.#putLate();
    this.put(changes.flatMap(({ next }) => next ?? []));
  }

  /** Frontends that are to be here no more. */
  removePrevious(changes: readonly FrontendChange[]): void {
    this.#putLate();
    const { trees, whereOf } = this.#options;
    const isIn = (tree: ChainTree, frontend: Frontend): boolean => whereOf(frontend) === tree.at && tree.concerns(frontend);
    for (const { previous, next } of changes)
      for (const tree of previous ? trees : []) if (previous && isIn(tree, previous) && !(next && isIn(tree, next))) tree.remove(previous);
  }

  /** Everything, over whatever of ours is there. Must be read to its end. */
  *whole(listing: Listing, canary: string): Generator<string> {
    const { write } = this.#take();
    const all = new Map([...made(this.#fixed), ...this.#newCanary(canary), ...write]);
    const stale = [...listing.chains.keys()].filter((chain) => isOurChain(this.words, chain) && !all.has(chain));
    this.#hasDockerUser = listing.hooks.has(DOCKER_USER);
    this.#jumps = this.#possibleJumps();
    yield* renderSection(this.table, this.#held({ write: all, remove: stale }), hookLines(this.words, listing, this.#jumps));
  }

  /** Only what has changed since the last text; "" when nothing has. */
  changes(canary: string): string {
    const edits = this.#take();
    const before = this.#jumps;
    this.#jumps = this.#possibleJumps();
    const lines = hookRewrite(before, this.#jumps);
    if (edits.write.size + edits.remove.length + lines.length === 0) return "";
    const write = new Map([...edits.write, ...this.#newCanary(canary)]);
    return wholeText(renderSection(this.table, this.#held({ ...edits, write }), lines));
  }

  #putLate(): void {
    const late = this.#later;
    this.#later = [];
    this.put([...late]);
  }

  #possibleJumps(): readonly Jump[] {
    return this.#options.jumps().filter(({ hook }) => hook !== DOCKER_USER || this.#hasDockerUser);
  }

  #take(): ChainEdits {
    this.#putLate();
    const write = new Map<string, () => readonly string[]>();
    const remove: string[] = [];
    const fixed = this.#options.fixedChains();
    for (const [chain, rules] of fixed) if (!isSame(this.#fixed.get(chain), rules)) write.set(chain, () => rules);
    for (const chain of this.#fixed.keys()) if (!fixed.has(chain)) remove.push(chain);
    this.#fixed = fixed;
    for (const tree of this.#options.trees) {
      const edits = tree.takeEdits();
      for (const [chain, rules] of edits.write) write.set(chain, rules);
      remove.push(...edits.remove);
    }
    return { write, remove };
  }

  #newCanary(canary: string): ChainEdits["write"] {
    const { words, table } = this;
    this.#canary = `${words.list}-${table}-${canary}`;
    return made(new Map([[chainsOf(words).canary, [recent(words, "--rcheck", this.#canary)]]]));
  }

  /** The same, summed while it is written: its text is not kept. */
  #held({ write, remove }: ChainEdits): ChainEdits {
    for (const chain of remove) this.#sums.delete(chain);
    const summing = new Map<string, () => readonly string[]>();
    for (const [chain, make] of write)
      summing.set(chain, () => {
        const rules = make();
        this.#sums.set(chain, sumOf(rules));
        return rules;
      });
    return { write: summing, remove };
  }
}

function made(chains: ReadonlyMap<string, readonly string[]>): ChainEdits["write"] {
  return new Map(Array.from(chains, ([chain, rules]) => [chain, () => rules]));
}

/** The last rule of a guarded chain: it does nothing, is seldom or never reached, and names a list that is there as long as the rule is. */
export function intact(words: Words, table: TableName, chain: string): string {
  return recent(words, "--rcheck", guardList(words, table, chain));
}

/** Always true: nothing is ever put into the list. While a rule names it, /proc/net/xt_recent has it, and looking there costs no process. */
export function present(words: Words, canary: string): string {
  return recent(words, "! --rcheck", canary);
}

function recent({ mask }: Words, verb: string, list: string): string {
  return `-m recent ${verb} --name ${list} --mask ${mask} --rsource`;
}

function guardedChains(words: Words): readonly string[] {
  const { services, rejects, external, nodePorts, ours, postrouting, undelivered } = chainsOf(words);
  return [services, rejects, external, nodePorts, ours, postrouting, undelivered];
}

function guardList({ list, prefix }: Words, table: TableName, chain: string): string {
  return `${list}-${table}-${chain.slice(prefix.length)}-intact`;
}

function isSame(a: readonly string[] | undefined, b: readonly string[]): boolean {
  return a?.length === b.length && a.every((line, i) => line === b[i]);
}
