import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";

// An installed agent need not hold the compiler that strips types, nor compiled code of its own to get by without: 20 and 4 MB (docs/adr/0333).

/** Makes JavaScript of each TypeScript file in a folder, line by line the same, and of what they import of each other. */
export async function makeJavaScript(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
    const file = join(entry.parentPath, entry.name);
    await writeFile(inJavaScript(file), javaScriptOf(await readFile(file, "utf8")));
    await rm(file);
  }
}

export function javaScriptOf(source: string): string {
  const ownFile = /(["'])((?:\.{1,2}\/|#(?:proto|server|agent|cli)\/)[^"'\s]*\.ts)\1/g;
  return stripTypeScriptTypes(source).replaceAll(ownFile, (_all, quote: string, path: string) => `${quote}${inJavaScript(path)}${quote}`);
}

export function inJavaScript(path: string): string {
  return path.replace(/\.ts$/, ".js");
}
