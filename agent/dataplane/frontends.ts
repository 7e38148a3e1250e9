import type { CompiledService, Frontend, ServiceChange } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";

/** What the drivers share in reading their input: a driver programs one family, and follows frontends, not services. Pure. */

export interface FrontendChange {
  readonly previous: Frontend | undefined;
  readonly next: Frontend | undefined;
}

export function frontendsOf(services: Iterable<CompiledService>, family: IpFamily): readonly Frontend[] {
  const found: Frontend[] = [];
  for (const { frontends } of services) for (const frontend of frontends) if (frontend.family === family) found.push(frontend);
  return found;
}

/** Each frontend that is in one of both states, whether it differs or not. */
export function frontendChanges({ previous, next }: ServiceChange, family: IpFamily): readonly FrontendChange[] {
  const before = byPlace(previous, family);
  const after = byPlace(next, family);
  return [...new Set([...before.keys(), ...after.keys()])].map((place) => ({ previous: before.get(place), next: after.get(place) }));
}

/** Where clients connect to: no two frontends of a family that are in the kernel at a time have the same. */
export function placeOf({ address, protocol, port }: Pick<Frontend, "address" | "protocol" | "port">): string {
  return `${address} ${protocol} ${port}`;
}

function byPlace(service: CompiledService | undefined, family: IpFamily): Map<string, Frontend> {
  return new Map(frontendsOf(service ? [service] : [], family).map((frontend) => [placeOf(frontend), frontend]));
}

/** How often each word is in use, and which ones came and went since it was asked last: for sets of the kernel that several services share. */
export class UseCount {
  readonly #uses = new Map<string, number>();
  /** word → whether it was in use when `take` was called last. */
  #before = new Map<string, boolean>();

  add(word: string): void {
    this.#change(word, 1);
  }

  remove(word: string): void {
    this.#change(word, -1);
  }

  has(word: string): boolean {
    return this.#uses.has(word);
  }

  words(): Iterable<string> {
    return this.#uses.keys();
  }

  take(): { readonly added: readonly string[]; readonly removed: readonly string[] } {
    const added: string[] = [];
    const removed: string[] = [];
    for (const [word, was] of this.#before) {
      const is = this.#uses.has(word);
      if (is && !was) added.push(word);
      if (was && !is) removed.push(word);
    }
    this.#before = new Map();
    return { added, removed };
  }

  #change(word: string, by: 1 | -1): void {
    const uses = this.#uses.get(word) ?? 0;
    if (!this.#before.has(word)) this.#before.set(word, uses > 0);
    if (uses + by > 0) this.#uses.set(word, uses + by);
    else this.#uses.delete(word);
  }
}
