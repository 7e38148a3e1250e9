/**
 * Numbers from 0 to size - 1, each free or used. Free ones are given out along a random walk that passes every number once before it comes to
 * any a second time: what was given back is not given out again soon, when kernels and clients may still know it by its old owner, and
 * nobody can foretell the next one.
 */
export interface Pool {
  /** A free number; undefined when there is none. It stays free until `use`: callers at the same time get different ones. */
  next(): number | undefined;
  isUsed(index: number): boolean;
  use(index: number): void;
  release(index: number): void;
  readonly free: number;
}

export interface PoolOptions {
  readonly size: number;
  /** Never given out. */
  readonly reserved: ReadonlySet<number>;
  /** In [0, 1). */
  readonly random: () => number;
}

export function createPool({ size, reserved, random }: PoolOptions): Pool {
  const used = new Set<number>();
  const step = strideFor(size, random);
  let cursor = Math.floor(random() * size);
  const capacity = size - reserved.size;

  return {
    next: () => {
      if (used.size >= capacity) return undefined;
      do cursor = (cursor + step) % size;
      while (used.has(cursor) || reserved.has(cursor));
      return cursor;
    },
    isUsed: (index) => used.has(index),
    use: (index) => {
      if (!reserved.has(index)) used.add(index);
    },
    release: (index) => void used.delete(index),
    get free() {
      return capacity - used.size;
    },
  };
}

/** A step that shares no factor with the size comes by every number. */
function strideFor(size: number, random: () => number): number {
  if (size < 3) return 1;
  for (;;) {
    const step = 1 + Math.floor(random() * (size - 1));
    if (greatestCommonDivisor(step, size) === 1) return step;
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
