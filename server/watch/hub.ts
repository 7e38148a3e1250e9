import type { KindName } from "#proto/kinds.ts";
import type { Store } from "#server/store/store.ts";

/**
 * Wakes those who wait for changes, at the moment of the commit. It holds who sleeps and one revision for each kind, no data: whoever is
 * woken reads the store, so nothing can be missed between reading and sleeping.
 */
export interface Hub {
  /**
   * Resolves with "news" as soon as there is, or may be, a change of the kinds after `since`; with "timeout" when the time is up, and with
   * "stopped" when the signal aborts or the hub closes.
   */
  waitPast(since: number, wanted: Wanted, signal: AbortSignal): Promise<Waking>;
  readonly sleeping: number;
  close(): void;
}

export type Waking = "news" | "timeout" | "stopped";

export interface Wanted {
  /** Absent: any. */
  readonly kinds?: ReadonlySet<KindName> | undefined;
  /** Absent: no limit. */
  readonly timeoutMs?: number | undefined;
}

/** Those who wait for the same kinds. */
interface Dormitory {
  readonly kinds: ReadonlySet<KindName> | undefined;
  readonly sleepers: Set<(why: Waking) => void>;
}

export function createHub(store: Pick<Store, "revision" | "onCommit">): Hub {
  const dormitories = new Map<string, Dormitory>();
  const newest = new Map<KindName, number>();
  // What happened before is not known by kind: whoever is behind it looks for himself.
  const start = store.revision;
  let closed = false;

  const stopListening = store.onCommit((changes) => {
    const changed = new Set<KindName>();
    for (const { key, revision } of changes) {
      newest.set(key.kind, revision);
      changed.add(key.kind);
    }
    for (const dormitory of dormitories.values())
      if (dormitory.kinds === undefined || !dormitory.kinds.isDisjointFrom(changed)) wake(dormitory, "news");
  });

  function wake(dormitory: Dormitory, why: Waking): void {
    for (const sleeper of dormitory.sleepers) sleeper(why); // none can come in meanwhile: they go on only after this turn
  }

  function hasNews(since: number, kinds: ReadonlySet<KindName> | undefined): boolean {
    if (since < start) return true;
    if (kinds === undefined) return store.revision > since;
    for (const kind of kinds) if ((newest.get(kind) ?? start) > since) return true;
    return false;
  }

  function dormitoryOf(kinds: ReadonlySet<KindName> | undefined): Dormitory {
    const name = kinds === undefined ? "*" : [...kinds].toSorted().join();
    const found = dormitories.get(name);
    if (found) return found;
    const made = { kinds, sleepers: new Set<(why: Waking) => void>() };
    dormitories.set(name, made); // there are at most as many as sets of kinds that our code asks for
    return made;
  }

  return {
    waitPast: (since, { kinds, timeoutMs }, signal) => {
      if (signal.aborted || closed) return Promise.resolve("stopped");
      if (hasNews(since, kinds)) return Promise.resolve("news");
      if (timeoutMs !== undefined && timeoutMs <= 0) return Promise.resolve("timeout");
      const { sleepers } = dormitoryOf(kinds);
      return new Promise((resolve) => {
        const wakeUp = (why: Waking): void => {
          sleepers.delete(wakeUp);
          clearTimeout(timer);
          signal.removeEventListener("abort", stop);
          resolve(why);
        };
        const stop = (): void => wakeUp("stopped");
        const timer = timeoutMs === undefined ? undefined : setTimeout(wakeUp, timeoutMs, "timeout");
        signal.addEventListener("abort", stop, { once: true });
        sleepers.add(wakeUp);
      });
    },
    get sleeping() {
      let sum = 0;
      for (const { sleepers } of dormitories.values()) sum += sleepers.size;
      return sum;
    },
    close: () => {
      closed = true;
      stopListening();
      for (const dormitory of dormitories.values()) wake(dormitory, "stopped");
    },
  };
}
