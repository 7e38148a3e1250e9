import { AppError } from "#proto/error.ts";
import { MAX_NUMBERS, readMark, serverMark, type SetName } from "./names.ts";
import type { ServerKey } from "./servers.ts";

/** Who may connect is there before the place is closed to all others; both are done before there is more to get at (`isFirst`). */
export const TURN: readonly SetName[] = ["RANGED", "RANGED-IN", "PLACES-IN", "NODE-IN", "PLACES", "NODE", "EXTERNAL", "PING", "HEALTH"];

interface InKernel {
  readonly servers: ReadonlyMap<ServerKey, unknown>;
  /** set → entry → mark. */
  readonly sets: ReadonlyMap<SetName, ReadonlyMap<string, number>>;
}

/** Which leg of a frontend has which mark. Outlives a state: after a sync, a leg keeps the mark that its connections know. */
export class Marks {
  readonly #byLeg = new Map<string, number>();
  readonly #legs = new Map<number, string>();
  readonly #numbers = new Set<number>();
  #next = 0;

  of(leg: string, protocol: "TCP" | "UDP" | "SCTP"): number {
    const known = this.#byLeg.get(leg);
    if (known !== undefined) return known;
    if (this.#numbers.size >= MAX_NUMBERS) throw new AppError("KernelRejected", `more than ${MAX_NUMBERS} virtual servers with a mark`);
    while (this.#numbers.has(this.#next)) this.#next = (this.#next + 1) % MAX_NUMBERS;
    const mark = serverMark(this.#next, protocol);
    this.#take(leg, mark, this.#next);
    return mark;
  }

  release(mark: number): void {
    const leg = this.#legs.get(mark);
    const read = readMark(mark);
    if (leg !== undefined && this.#byLeg.get(leg) === mark) this.#byLeg.delete(leg);
    this.#legs.delete(mark);
    if (read) this.#numbers.delete(read.number);
  }

  /** Forgets the legs of all other servers. */
  keepOnly(servers: ReadonlyMap<ServerKey, unknown>): void {
    for (const mark of [...this.#legs.keys()]) if (!servers.has(mark)) this.release(mark);
  }

  /** From what the kernel holds. A server that no entry leads to is one whose connections are ending. */
  learn({ servers, sets }: InKernel): void {
    for (const key of servers.keys()) {
      const read = typeof key === "number" ? readMark(key) : undefined;
      if (read) this.#numbers.add(read.number);
    }
    for (const set of TURN)
      for (const [text, mark] of sets.get(set) ?? []) {
        const read = readMark(mark);
        const leg = legOfEntry(set, text);
        if (read && !this.#byLeg.has(leg)) this.#take(leg, mark, read.number);
      }
  }

  #take(leg: string, mark: number, number: number): void {
    this.#byLeg.set(leg, mark);
    this.#legs.set(mark, leg);
    this.#numbers.add(number);
  }
}

/** `203.0.113.5,tcp:80,10.0.0.0/8` of RANGED is the leg `203.0.113.5,tcp:80`; `0.0.0.0/1,tcp:30080` of NODE-IN is `tcp:30080 inside`. */
function legOfEntry(set: SetName, text: string): string {
  const place = set.startsWith("NODE") ? text.split(",").slice(1).join(",") : placeOfEntry(text);
  return `${place}${set.endsWith("-IN") ? " inside" : ""}`;
}

export function placeOfEntry(text: string): string {
  return text.split(",", 2).join(",");
}
