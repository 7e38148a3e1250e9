/** Of all connections together: what that costs, others can wait. */
const MESSAGES_PER_TURN = 64;
/** Of one connection, then it is the next one's turn. */
export const MESSAGES_PER_VISIT = 8;

/**
 * Who may read a message in this turn of the event loop, and who waits for the next one. An answer that is there at once leaves nothing in flight that would
 * bound a connection, and 64 KB hold 4,681 messages: without this, a few clients that send them keep all others waiting.
 */
export class Turns {
  #left = MESSAGES_PER_TURN;
  #isNextSet = false;
  /** Who came first stands first. */
  readonly #waiting = new Set<() => void>();

  /** One message; false = none is left in this turn. */
  take(): boolean {
    if (this.#left === 0) return false;
    this.#left--;
    this.#setNext();
    return true;
  }

  wait(goOn: () => void): void {
    this.#waiting.add(goOn);
    this.#setNext();
  }

  isWaiting(goOn: () => void): boolean {
    return this.#waiting.has(goOn);
  }

  #setNext(): void {
    if (this.#isNextSet) return;
    this.#isNextSet = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#isNextSet = false;
    this.#left = MESSAGES_PER_TURN;
    // Whoever is not done stands at the end again, and comes again in this same turn while something is left of it.
    for (const goOn of this.#waiting) {
      if (this.#left === 0) break;
      this.#waiting.delete(goOn);
      goOn();
    }
    if (this.#waiting.size > 0) this.#setNext();
  }
}
