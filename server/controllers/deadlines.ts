/**
 * Keys that fall due at some time, with one timer for all of them: it is set for the next one, and nothing runs in between. Putting a
 * deadline off, as every heartbeat does, costs a map entry and nothing else.
 */
export interface Deadlines {
  /** Sets, brings forward or puts off. `at` is in the terms of `now`. */
  set(key: string, at: number): void;
  delete(key: string): void;
  readonly size: number;
  /** Entries in the heap, with those that are left over: at most about twice `size`. */
  readonly queued: number;
  stop(): void;
}

interface Entry {
  readonly key: string;
  readonly at: number;
}

/** `queuedAt`: which of the key's entries in the heap stands for it; others are left over and count for nothing. */
interface Wanted {
  at: number;
  queuedAt: number;
}

/** Left over entries are cleared away when there are so many more than half. */
const SLACK = 64;
const MAX_TIMER_MS = 2 ** 31 - 1;

/** `onDue` is called with a key that is due, which is then no longer set; it may set it again. `now` in ms. */
export function createDeadlines({ now, onDue }: { readonly now: () => number; readonly onDue: (key: string) => void }): Deadlines {
  const wanted = new Map<string, Wanted>();
  let heap: Entry[] = [];
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Infinity;
  let stopped = false;

  function arm(): void {
    const next = heap[0]?.at ?? Infinity;
    if (stopped || next >= timerAt) return;
    clearTimeout(timer);
    timerAt = next;
    timer = setTimeout(fire, Math.min(Math.max(Math.ceil(next - now()), 0), MAX_TIMER_MS));
  }

  /** What was called off or brought forward would stay until its time: a deadline may be hours away, and set anew with each write. */
  function clearAway(): void {
    if (heap.length <= 2 * wanted.size + SLACK) return;
    heap = [];
    for (const [key, one] of wanted) {
      one.queuedAt = one.at;
      insert(heap, { key, at: one.at });
    }
  }

  function fire(): void {
    timerAt = Infinity;
    const time = now();
    for (let top = heap[0]; top !== undefined && top.at <= time && !stopped; top = heap[0]) {
      removeTop(heap);
      const one = wanted.get(top.key);
      if (one?.queuedAt !== top.at) continue;
      if (one.at > time) {
        one.queuedAt = one.at;
        insert(heap, { key: top.key, at: one.at });
      } else {
        wanted.delete(top.key);
        onDue(top.key);
      }
    }
    arm();
  }

  return {
    set: (key, at) => {
      const one = wanted.get(key);
      if (one && at >= one.queuedAt) {
        one.at = at;
        return;
      }
      wanted.set(key, { at, queuedAt: at });
      insert(heap, { key, at });
      clearAway();
      arm();
    },
    delete: (key) => {
      wanted.delete(key);
      clearAway();
    },
    get size() {
      return wanted.size;
    },
    get queued() {
      return heap.length;
    },
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/** A binary heap, the earliest on top. */
function insert(heap: Entry[], entry: Entry): void {
  let i = heap.push(entry) - 1;
  while (i > 0) {
    const parent = (i - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || above.at <= entry.at) break;
    heap[i] = above;
    i = parent;
  }
  heap[i] = entry;
}

function removeTop(heap: Entry[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let i = 0;
  for (;;) {
    const left = heap[2 * i + 1];
    const right = heap[2 * i + 2];
    const earliest = right !== undefined && left !== undefined && right.at < left.at ? 2 * i + 2 : 2 * i + 1;
    const below = heap[earliest];
    if (below === undefined || below.at >= last.at) break;
    heap[i] = below;
    i = earliest;
  }
  heap[i] = last;
}
