/** How long something computes, in ms of this thread: beside other work on the machine the clock would measure that too. */
export function cpuMs(work: () => void): number {
  const before = process.threadCpuUsage();
  work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}

const ROUNDS = 8;

/** How many times as long as `small` the size `large` takes, each at its best of some rounds; ends early where it is below `enough`. */
export function growthOf(work: (size: number) => void, { small, large, enough }: { small: number; large: number; enough: number }): number {
  work(small); // compiled and warm
  let [best, bestLarge] = [Infinity, Infinity];
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < 3; i++)
      best = Math.min(
        best,
        cpuMs(() => work(small)),
      );
    bestLarge = Math.min(
      bestLarge,
      cpuMs(() => work(large)),
    );
    if (bestLarge / best < enough) break;
  }
  return bestLarge / best;
}
