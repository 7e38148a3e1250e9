import type { Element } from "./render-frontend.ts";

/** Who wants an element; nearly always with one value. */
interface Uses {
  readonly value: string | undefined;
  count: number;
}

/** Elements that several frontends want: how many do, and what becomes of the element of the kernel. */
export class SharedElements {
  /** map → key → the values that are wanted. */
  readonly #uses = new Map<string, Map<string, Uses[]>>();
  /** What was there when it was asked last, of those that were touched since; undefined = nobody has asked yet. */
  #before: Map<string, { readonly map: string; readonly key: string; readonly element: Element | undefined }> | undefined;

  add(element: Element): void {
    this.#touch(element);
    const { map, key, value } = element;
    const keys = this.#uses.get(map) ?? new Map<string, Uses[]>();
    this.#uses.set(map, keys);
    const wanted = keys.get(key);
    const same = wanted?.find((uses) => uses.value === value);
    if (same) same.count++;
    else if (wanted) wanted.push({ value, count: 1 });
    else keys.set(key, [{ value, count: 1 }]);
  }

  remove(element: Element): void {
    this.#touch(element);
    const keys = this.#uses.get(element.map);
    const wanted = keys?.get(element.key) ?? [];
    const same = wanted.find((uses) => uses.value === element.value);
    if (!same || --same.count > 0) return;
    if (wanted.length === 1) keys?.delete(element.key);
    else wanted.splice(wanted.indexOf(same), 1);
  }

  /** Everything that is wanted; from now on `take` tells what becomes different. */
  all(): readonly Element[] {
    this.#before = new Map();
    return [...this.#uses].flatMap(([map, keys]) =>
      Array.from(keys.keys(), (key) => this.#elementOf(map, key)).filter((one) => one !== undefined),
    );
  }

  take(): { readonly added: readonly Element[]; readonly removed: readonly Element[] } {
    const added: Element[] = [];
    const removed: Element[] = [];
    for (const { map, key, element: before } of this.#before?.values() ?? []) {
      const now = this.#elementOf(map, key);
      if (before && now && before.value === now.value) continue;
      if (before) removed.push(before);
      if (now) added.push(now);
    }
    this.#before = new Map();
    return { added, removed };
  }

  #touch({ map, key }: Element): void {
    const word = `${map} ${key}`;
    if (this.#before && !this.#before.has(word)) this.#before.set(word, { map, key, element: this.#elementOf(map, key) });
  }

  /** Of several values the last by name: `goto refuse_virtual` before `goto refuse_external`. */
  #elementOf(map: string, key: string): Element | undefined {
    const wanted = this.#uses.get(map)?.get(key);
    if (wanted?.[0] === undefined) return undefined;
    const value = wanted.length === 1 ? wanted[0].value : wanted.map((uses) => uses.value ?? "").toSorted().at(-1); // prettier-ignore
    return { map, key, value };
  }
}
