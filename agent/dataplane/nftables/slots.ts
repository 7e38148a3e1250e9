import type { Backend } from "#agent/compile/table.ts";

/**
 * A draw among equal slots gives each backend its share when it has as many of them as its weight says. Where some weigh so little that a table of slots
 * would have to be too long, two draws do: first one of a few groups, exactly by weight, and then a slot of that group.
 */

export interface Group {
  /** What all of it weighs: it gets so many parts of the sum of all groups. */
  readonly weight: number;
  /** Each backend as often as it has slots. */
  readonly slots: readonly Backend[];
}

/** Up to here a share is exact. */
const EXACT_UP_TO = 256;
const MAX_SLOTS = 1_024;
/** Of a backend's own share, where exactness would take too many slots. */
const TOLERANCE = 0.005;

/** Of all connections. A share that one draw misses by more is a reason for two. */
const MISSED = 0.0025;

/** One group, where that is good enough; else the heaviest first. */
export function groupsOf(backends: readonly Backend[]): readonly Group[] {
  const weights = backends.map(({ weight }) => weight);
  if (weights.every((weight) => weight === weights[0])) return [{ weight: 1, slots: backends }];
  const counts = countsOf(weights);
  if (mostMissed(counts, weights) <= MISSED) return [{ weight: 1, slots: repeated(backends, counts) }];
  return inGroups(backends).map((group) => {
    const own = group.map(({ weight }) => weight);
    return { weight: sum(own), slots: repeated(group, countsOf(own)) };
  });
}

/** In the order of the backends; nobody has fewer than one. */
function repeated(backends: readonly Backend[], counts: readonly number[]): readonly Backend[] {
  return backends.flatMap((backend, i) => Array.from({ length: counts[i] ?? 0 }, () => backend));
}

/** From the heaviest on, as long as the next one is worth a whole slot of those that its group may have. */
function inGroups(backends: readonly Backend[]): readonly (readonly Backend[])[] {
  const groups: Backend[][] = [];
  let total = 0;
  for (const backend of backends.toSorted((a, b) => b.weight - a.weight)) {
    const group = groups.at(-1);
    if (group && backend.weight * MAX_SLOTS >= total + backend.weight) group.push(backend);
    else groups.push([backend]);
    total = group === groups.at(-1) ? total + backend.weight : backend.weight;
  }
  return groups;
}

function mostMissed(counts: readonly number[], weights: readonly number[]): number {
  const [slots, total] = [sum(counts), sum(weights)];
  return Math.max(...counts.map((count, i) => Math.abs(count / slots - (weights[i] ?? 0) / total)));
}

export function countsOf(weights: readonly number[]): readonly number[] {
  const divisor = weights.reduce(greatestCommonDivisor, 0) || 1;
  const reduced = weights.map((weight) => weight / divisor);
  const total = sum(reduced);
  if (total <= Math.max(EXACT_UP_TO, weights.length)) return reduced;
  const most = Math.max(MAX_SLOTS, weights.length);
  const tried = (slots: number): { readonly counts: readonly number[]; readonly error: number } => {
    const counts = apportion(reduced, total, slots);
    return { counts, error: worstError(counts, reduced, total) };
  };
  // The smallest shares are the hardest to meet: most numbers of slots are out of the question after one or two of them.
  const shares = reduced.map((weight) => weight / total).toSorted((x, y) => x - y);
  let best = tried(most);
  for (let slots = weights.length; slots < most; slots++) {
    if (!mayBeat(Math.max(best.error, TOLERANCE), shares, slots)) continue;
    const next = tried(slots);
    if (next.error <= TOLERANCE) return next.counts;
    if (next.error < best.error) best = next;
  }
  return best.counts;
}

/** Whole slots miss a share by the way to the nearest whole number at least. */
function mayBeat(error: number, shares: readonly number[], slots: number): boolean {
  return shares.every((share) => {
    const exact = share * slots;
    return Math.abs(Math.max(1, Math.round(exact)) - exact) < error * exact;
  });
}

/** Largest remainders; whoever would get none gets one. */
function apportion(weights: readonly number[], total: number, slots: number): readonly number[] {
  const exact = weights.map((weight) => (weight / total) * slots);
  const counts = exact.map((share) => Math.max(1, Math.floor(share)));
  const byRemainder = exact.map((share, i) => ({ i, left: share - (counts[i] ?? 0) })).toSorted((a, b) => b.left - a.left || a.i - b.i);
  for (const { i } of byRemainder.slice(0, Math.max(0, slots - sum(counts)))) counts[i] = (counts[i] ?? 0) + 1;
  return counts;
}

function worstError(counts: readonly number[], weights: readonly number[], total: number): number {
  const slots = sum(counts);
  return Math.max(...counts.map((count, i) => Math.abs((count / slots) * (total / (weights[i] ?? 1)) - 1)));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0);
}
