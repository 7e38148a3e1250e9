import type { Watched } from "./stale-flows.ts";

export const LEFT = "could not forget all stale UDP flows; it is tried again, and they end when their clients are silent for 30 s to 3 min";

type Place = Pick<Watched, "address" | "port">;

/** Places whose stale UDP flows are still to be forgotten, and when to try again. */
export interface OwedFlows {
  add(places: readonly Place[]): void;
  /** They were looked at; of those with a port in `left` there are flows still: a flow to a node port says its address, a place does not. */
  done(places: readonly Place[], left: ReadonlySet<number>): void;
  failed(): void;
  /** Nothing could be tried. */
  postpone(): void;
  due(): readonly Place[];
}

const RETRY = { firstMs: 1_000, lastMs: 30_000 };
/** More are not remembered: of those the oldest are left to end by themselves. */
const MAX_OWED = 20_000;

export function openOwedFlows(onProblem: (problem: string | undefined) => void, now = (): number => performance.now()): OwedFlows {
  const owed = new Map<string, Place>();
  let failures = 0;
  let retryAt = 0;
  const nameOf = ({ address, port }: Place): string => `${address} ${port}`;
  const postpone = (): void => {
    retryAt = now() + Math.min(RETRY.firstMs * 2 ** Math.min(failures++, 10), RETRY.lastMs);
  };
  const failed = (): void => {
    postpone();
    onProblem(LEFT);
  };
  return {
    add(places) {
      for (const place of places) owed.set(nameOf(place), { address: place.address, port: place.port });
      for (const [oldest] of owed) {
        if (owed.size <= MAX_OWED) break;
        owed.delete(oldest);
      }
    },
    done(places, left) {
      for (const place of places) if (!left.has(place.port)) owed.delete(nameOf(place));
      failures = 0; // some went
      if (left.size > 0) failed();
      else if (owed.size === 0) onProblem(undefined);
    },
    failed,
    postpone,
    due: () => (owed.size > 0 && now() >= retryAt ? [...owed.values()] : []),
  };
}

/** Two things may be wrong; the first is told, as it is the reason for the other. */
export function tellOne(
  onProblem: ((problem: string | undefined) => void) | undefined,
): Record<"missing" | "left", (problem: string | undefined) => void> {
  const now: Record<"missing" | "left", string | undefined> = { missing: undefined, left: undefined };
  let told: string | undefined;
  const set = (which: "missing" | "left") => (problem: string | undefined) => {
    now[which] = problem;
    const next = now.missing ?? now.left;
    if (next !== told) onProblem?.(next);
    told = next;
  };
  return { missing: set("missing"), left: set("left") };
}
