import type { Event } from "#proto/event.ts";
import type { Labels, ObjectMeta } from "#proto/meta.ts";
import { age } from "#proto/age.ts";
import { clean } from "./clean.ts";
import { lastSeen } from "#proto/columns.ts";
import { renderTable } from "./table.ts";

/** Parts that every `describe` is made of. */

export type Field = readonly [name: string, value: string | readonly string[]];

/** `Name:   value`, the values in one column; further lines of a value stand under its first. */
export function fields(all: readonly Field[]): string {
  const width = Math.max(...all.map(([name]) => name.length)) + 3;
  const line = (head: string, text: string): string => `${head.padEnd(width)}${clean(text)}`.trimEnd();
  return all
    .flatMap(([name, value]) => {
      const [first = "<none>", ...rest] = typeof value === "string" ? [value] : value;
      return [line(`${name}:`, first), ...rest.map((text) => line("", text))];
    })
    .map((text) => `${text}\n`)
    .join("");
}

/** kubectl's own bookkeeping says nothing to people. */
const HIDDEN_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration";

export function metadataFields({ name, namespace, labels, annotations }: ObjectMeta): Field[] {
  return [
    ["Name", name],
    ...(namespace === undefined ? [] : [["Namespace", namespace] as const]),
    ["Labels", pairs(labels)],
    ["Annotations", pairs(Object.fromEntries(Object.entries(annotations ?? {}).filter(([key]) => key !== HIDDEN_ANNOTATION)), ": ")],
  ];
}

export function pairs(labels: Labels | undefined, between = "="): string[] {
  return Object.entries(labels ?? {}).map(([key, value]) => `${key}${between}${value}`);
}

/** A table two spaces in, or `<none>` beside the title. */
export function section(title: string, columns: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return `${title}:  <none>\n`;
  const table = renderTable(columns, rows);
  return `${title}:\n${table.replaceAll(/^(?=.)/gm, "  ")}`;
}

export function eventsSection(events: readonly Event[], now: number): string {
  const sorted = events.toSorted((a, b) => (lastSeen(a) ?? "").localeCompare(lastSeen(b) ?? "", "en"));
  return section(
    "Events",
    ["TYPE", "REASON", "AGE", "FROM", "MESSAGE"],
    sorted.map((event) => [
      event.type,
      event.reason,
      (event.count ?? 1) > 1 ? `${age(lastSeen(event), now)} (x${event.count ?? 1})` : age(lastSeen(event), now),
      event.source.component ?? "",
      event.message,
    ]),
  );
}
