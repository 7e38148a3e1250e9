/** A bell for one sleeper: rung while nobody waits, the next wait returns at once. */
export interface Wake {
  ring(): void;
  /** Until rung, or until the signal aborts; never rejects. */
  wait(signal: AbortSignal): Promise<void>;
}

export function createWake(): Wake {
  let rung = false;
  let release: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      release?.();
    },
    async wait(signal) {
      if (!rung && !signal.aborted)
        await new Promise<void>((resolve) => {
          const done = (): void => {
            release = undefined;
            signal.removeEventListener("abort", done);
            resolve();
          };
          release = done;
          signal.addEventListener("abort", done, { once: true });
        });
      rung = false;
    },
  };
}
