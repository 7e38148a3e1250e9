import { expect, test } from "vitest";
import { javaScriptOf } from "./javascript.ts";

test("types go, lines stay where they are, and own files are named as they are now", () => {
  const source = [
    `import type { A } from "./a.ts";`,
    `import { b } from "#proto/b.ts";`,
    `const program: URL = new URL("./c.ts", import.meta.url);`,
    `const other = await import("../d/e.ts");`,
    `const words = "node web.ts";`,
  ];
  expect(
    javaScriptOf(source.join("\n"))
      .split("\n")
      .map((line) => line.replaceAll(/ +/g, " ").trim()),
  ).toEqual([
    ``,
    `import { b } from "#proto/b.js";`,
    `const program = new URL("./c.js", import.meta.url);`,
    `const other = await import("../d/e.js");`,
    `const words = "node web.ts";`,
  ]);
});
