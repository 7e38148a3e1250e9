import type { Applied } from "./watch-loop.ts";

/** Remembers which revision the kernel holds, for receipts and for the watch that waits for it. */
export interface AppliedTracker extends Applied {
  /** From now on this is what is wanted; it is lower than before when the server's history went back (a restored backup). */
  want(revision: number): void;
  /** `part` of the kernel holds it; what is told is the least of all parts. */
  applied(revision: number, part?: string): void;
  /** This part cannot work on this host: nobody waits for it, until it has applied something. Where no part works, nothing is told. */
  excuse(part: string): void;
  /** How long the oldest change waits that `part` does not hold; 0 = it holds all. */
  waitingMs(part?: string): number;
}

const WHOLE = "kernel";

interface Part {
  held: number | undefined;
  isExcused: boolean;
  /** Since when something is wanted that is not held, and what was wanted last when that was found out. */
  behind: { readonly at: number; readonly revision: number } | undefined;
}

export function createAppliedTracker(names: readonly string[] = [WHOLE], now = (): number => performance.now()): AppliedTracker {
  let wanted = 0;
  const parts = new Map(names.map((name): [string, Part] => [name, { held: undefined, isExcused: false, behind: undefined }]));
  const waiters = new Set<() => void>();
  const partOf = (name: string): Part => {
    const part = parts.get(name);
    if (!part) throw new Error(`no part ${name} of the kernel: there are ${names.join(", ")}`);
    return part;
  };
  const least = (): number | undefined => {
    const counted = [...parts.values()].filter(({ isExcused }) => !isExcused);
    const held = counted.map((part) => part.held).filter((revision) => revision !== undefined);
    return counted.length === 0 || held.length < counted.length ? undefined : Math.min(...held);
  };
  const wakeAll = (): void => {
    for (const wake of [...waiters]) wake();
  };
  return {
    revision: least,
    want(revision) {
      const isOtherHistory = revision < wanted;
      wanted = revision;
      for (const part of parts.values()) {
        if (isOtherHistory) part.held = undefined;
        if (part.held !== revision) part.behind ??= { at: now(), revision };
      }
    },
    applied(revision, name = WHOLE) {
      if (revision > wanted) return; // begun before the history went back
      const part = partOf(name);
      part.held = revision;
      part.isExcused = false;
      // What was wanted when it fell behind is there; what it lacks now came later than that, at the latest now.
      if (revision === wanted) part.behind = undefined;
      else if (part.behind && revision >= part.behind.revision) part.behind = { at: now(), revision: wanted };
      wakeAll();
    },
    excuse(name) {
      partOf(name).isExcused = true;
      wakeAll();
    },
    waitingMs(name = WHOLE) {
      const { behind } = partOf(name);
      return behind ? now() - behind.at : 0;
    },
    async reached(revision, signal) {
      const isHeld = (): boolean => (least() ?? -1) >= revision;
      while (!isHeld() && !signal.aborted)
        await new Promise<void>((resolve) => {
          const done = (): void => {
            waiters.delete(done);
            signal.removeEventListener("abort", done);
            resolve();
          };
          waiters.add(done);
          signal.addEventListener("abort", done, { once: true });
        });
    },
  };
}
