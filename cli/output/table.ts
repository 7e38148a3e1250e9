import { clean } from "./clean.ts";

const GAP = 3;

/**
 * Left-aligned columns three spaces apart, as kubectl prints them. Columns keep the widths of the rows printed before, so that the rows of a
 * watch stay under their header as long as they fit.
 */
export interface TableWriter {
  header(): string;
  rows(rows: readonly (readonly string[])[]): string;
}

export function createTable(columns: readonly string[]): TableWriter {
  const widths = columns.map((name) => name.length);
  const line = (cells: readonly string[]): string =>
    `${cells
      .map((cell, i) => (i === cells.length - 1 ? cell : cell.padEnd((widths[i] ?? 0) + GAP)))
      .join("")
      .trimEnd()}\n`;
  return {
    header: () => line(columns),
    rows(rows) {
      const cleaned = rows.map((row) => row.map(clean));
      for (const row of cleaned) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
      return cleaned.map(line).join("");
    },
  };
}

/** Header and rows at once. */
export function renderTable(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = createTable(columns);
  const body = table.rows(rows); // first, because they decide the widths
  return table.header() + body;
}
