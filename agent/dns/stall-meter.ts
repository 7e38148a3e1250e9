/** The longest that the event loop of this thread worked without a pause, so that others had to wait. */
export interface StallMeter {
  /** Since it was asked last. */
  takeMs(): number;
  stop(): void;
}

const SAMPLE_MS = 2;

/**
 * In processor time of the thread: on a busy machine the clock also counts what others did meanwhile. A timer that is due runs in the next turn, so two
 * samples have one turn between them, or turns that together took no longer than the timer.
 */
export function startStallMeter(): StallMeter {
  let [longestUs, lastUs] = [0, cpuUs()];
  const timer = setInterval(() => {
    const nowUs = cpuUs();
    longestUs = Math.max(longestUs, nowUs - lastUs);
    lastUs = nowUs;
  }, SAMPLE_MS);
  return {
    takeMs() {
      const taken = longestUs;
      longestUs = 0;
      return taken / 1000;
    },
    stop: () => clearInterval(timer),
  };
}

function cpuUs(): number {
  const { user, system } = process.threadCpuUsage();
  return user + system;
}
