/** So many failures in a row, and an upstream is asked after all others. */
const DOWN_AFTER = 2;
/** Longer than a slow answer takes: who has answered none of the probes since then is not slow. */
const DEAD_AFTER_MS = 4000;

/** What is known of an upstream from what became of the questions to it. */
export class UpstreamHealth {
  #failures = 0;
  #downSinceMs = 0;

  answered(): void {
    this.#failures = 0;
  }

  /** True = it is down from now on. */
  failed(nowMs: number): boolean {
    this.#failures++;
    if (this.#failures !== DOWN_AFTER) return false;
    this.#downSinceMs = nowMs;
    return true;
  }

  get isDown(): boolean {
    return this.#failures >= DOWN_AFTER;
  }

  /** Nobody need wait for it. */
  isDead(nowMs: number): boolean {
    return this.isDown && nowMs - this.#downSinceMs >= DEAD_AFTER_MS;
  }
}
