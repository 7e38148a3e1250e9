/**
 * Who waits until every host holds a revision, and how many hosts still lack it. Counted, not looked up: a host's news costs as much as there are
 * revisions waited for between what it held and what it holds.
 */
export interface ReceiptWaiters {
  /** The host holds everything up to `level`; undefined: nobody waits for it (it is not Ready, or gone). */
  hold(node: string, level: number | undefined): void;
  isLive(target: number): boolean;
  /** Resolves when all hosts that are waited for hold `target`, or when the signal aborts. */
  wait(target: number, signal: AbortSignal): Promise<void>;
}

/** All who wait for the same revision. */
interface Group {
  laggards: number;
  readonly wakes: Set<() => void>;
}

export function createReceiptWaiters(): ReceiptWaiters {
  const levels = new Map<string, number>();
  const groups = new Map<number, Group>();

  function countLaggards(target: number): number {
    let laggards = 0;
    for (const level of levels.values()) if (level < target) laggards++;
    return laggards;
  }

  /** Whoever is not waited for lacks nothing. */
  function move(before: number, after: number): void {
    if (before === after) return;
    for (const [target, group] of groups) {
      if (before < target === after < target) continue;
      group.laggards += after < target ? 1 : -1;
      if (group.laggards === 0) for (const wake of group.wakes) wake();
    }
  }

  return {
    hold: (node, level) => {
      const before = levels.get(node) ?? Infinity;
      if (level === undefined) levels.delete(node);
      else levels.set(node, level);
      move(before, level ?? Infinity);
    },
    isLive: (target) => (groups.get(target)?.laggards ?? countLaggards(target)) === 0,
    wait: async (target, signal) => {
      const group = groups.get(target) ?? { laggards: countLaggards(target), wakes: new Set() };
      if (group.laggards === 0 || signal.aborted) return;
      groups.set(target, group);
      const { promise, resolve } = Promise.withResolvers<undefined>();
      const wake = (): void => resolve(undefined);
      group.wakes.add(wake);
      signal.addEventListener("abort", wake, { once: true });
      await promise;
      signal.removeEventListener("abort", wake);
      group.wakes.delete(wake);
      if (group.wakes.size === 0 && groups.get(target) === group) groups.delete(target);
    },
  };
}
