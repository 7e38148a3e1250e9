/** `npm run docs`: writes docs/reference. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { reference } from "./collect.ts";

const folder = join(import.meta.dirname, "../../docs/reference");
await mkdir(folder, { recursive: true });
for (const [name, text] of Object.entries(await reference())) await writeFile(join(folder, name), text);
