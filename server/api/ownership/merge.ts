import { isHollow } from "#server/api/json-body.ts";
import { NO_FIELDS, type FieldSet } from "./field-set.ts";
import { isKeyOfItem, madeOf, partAt, partsOf, type Parts, type Place } from "./parts.ts";

/** What an applied configuration makes of an object. Pure; arguments are not changed. */

/** `live` with all that `config` says. */
export function merged(live: unknown, config: unknown, place: Place): unknown {
  if (config === undefined) return live;
  const was = partsOf(live, place);
  const said = partsOf(config, place);
  if (!was || !said || Array.isArray(live) !== Array.isArray(config)) return config;
  const parts = new Map<string, unknown>();
  for (const element of orderOf(was, said)) parts.set(element, merged(was.get(element), said.get(element), partAt(element, place)));
  return madeOf(parts, config);
}

/** What the configuration says comes in its order; what only the object has stays behind the one that it came after, so that a second time changes nothing. */
function orderOf(was: Parts, said: Parts): readonly string[] {
  const first: string[] = [];
  const behind = new Map<string, string[]>();
  let followers = first;
  for (const element of was.keys()) {
    if (!said.has(element)) followers.push(element);
    else behind.set(element, (followers = []));
  }
  return [...first, ...Array.from(said.keys()).flatMap((element) => [element, ...(behind.get(element) ?? [])])];
}

/**
 * `value` without the fields in `gone` of which nobody has anything in `kept`. What is below a field goes with it; an object or list that becomes empty,
 * and is nobody's, goes too. An item that stays keeps its key.
 */
export function without(value: unknown, gone: FieldSet, kept: FieldSet, place: Place): unknown {
  const parts = partsOf(value, place);
  if (!parts) return value;
  const left = new Map(parts);
  for (const [element, set] of gone.below) {
    const part = parts.get(element);
    if (part === undefined || isKeyOfItem(element, place)) continue;
    const keeps = kept.below.get(element);
    const next = keeps || !set.own ? without(part, set, keeps ?? NO_FIELDS, partAt(element, place)) : undefined;
    if (next === undefined || (!keeps && next !== part && isHollow(next))) left.delete(element);
    else left.set(element, next);
  }
  return madeOf(left, value);
}
