import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { reference } from "#tools/reference/collect.ts";
import { keysIn } from "#tools/reference/render.ts";

test("docs/reference is what the code says of itself (else: npm run docs)", { timeout: 60_000 }, async () => {
  const pages = await reference();
  expect(Object.keys(pages)).toHaveLength(4);
  for (const [name, text] of Object.entries(pages)) {
    const written = await readFile(join(import.meta.dirname, "../docs/reference", name), "utf8").catch(() => "");
    expect(written === text, `docs/reference/${name} is not current: run npm run docs`).toBe(true);
  }
});

test("every label and annotation with a meaning says which", async () => {
  const text = await readFile(join(import.meta.dirname, "../docs/reference/labels-and-annotations.md"), "utf8");
  const rows = text.split("\n").filter((line) => line.startsWith("| `"));
  expect(rows.length).toBeGreaterThan(8);
  for (const row of rows) expect(row.split("|")[2]?.trim(), row).not.toBe("");
});

test("keys are found with the comment before them", () => {
  const source =
    '/** Ours: how. */\nexport const A_LABEL = "fairlead.dev/a";\n\nconst API = "fairlead.dev/v1";\nconst B = "fairlead.dev/b-c";\n';
  expect(keysIn(source)).toEqual([
    { key: "fairlead.dev/a", kind: "label", says: "Ours: how." },
    { key: "fairlead.dev/b-c", kind: "annotation", says: "" },
  ]);
});
