import type { Element } from "./render-frontend.ts";

/** Elements that several frontends want: how many, and what becomes of the element of the kernel. */
export class SharedElements {
  /** map → key → value ("" in a set) → how many want it. */
  readonly #uses = new Map<string, Map<string, Map<string, number>>>();
  /** What was there when it was asked last, of those that were touched since. */
  #before = new Map<string, { readonly map: string; readonly key: string; readonly element: Element | undefined }>();

  add(element: Element): void {
    this.#touch(element);
    const values = this.#valuesOf(element);
    values.set(element.value ?? "", (values.get(element.value ?? "") ?? 0) + 1);
  }

  remove(element: Element): void {
    this.#touch(element);
    const values = this.#valuesOf(element);
    const left = (values.get(element.value ?? "") ?? 0) - 1;
    if (left > 0) values.set(element.value ?? "", left);
    else values.delete(element.value ?? "");
    if (values.size === 0) this.#uses.get(element.map)?.delete(element.key);
  }

  take(): { readonly added: readonly Element[]; readonly removed: readonly Element[] } {
    const added: Element[] = [];
    const removed: Element[] = [];
    for (const { map, key, element: before } of this.#before.values()) {
      const now = this.#elementOf(map, key);
      if (before && before.value !== now?.value) removed.push(before);
      else if (before && !now) removed.push(before);
      if (now && (!before || before.value !== now.value)) added.push(now);
    }
    this.#before = new Map();
    return { added, removed };
  }

  #touch({ map, key }: Element): void {
    const word = `${map} ${key}`;
    if (!this.#before.has(word)) this.#before.set(word, { map, key, element: this.#elementOf(map, key) });
  }

  #valuesOf({ map, key }: Element): Map<string, number> {
    const keys = this.#uses.get(map) ?? new Map<string, Map<string, number>>();
    this.#uses.set(map, keys);
    const values = keys.get(key) ?? new Map<string, number>();
    keys.set(key, values);
    return values;
  }

  /** Of several values the last by name: `goto refuse_virtual` before `goto refuse_external`. */
  #elementOf(map: string, key: string): Element | undefined {
    const values = this.#uses.get(map)?.get(key);
    if (!values || values.size === 0) return undefined;
    const value = [...values.keys()].toSorted().at(-1);
    return { map, key, value: value === "" ? undefined : value };
  }
}
