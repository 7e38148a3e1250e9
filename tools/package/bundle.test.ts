import { expect, test } from "vitest";
import { builtinsAsked } from "./bundle.ts";

test.for([
  [`import { a, b as c } from "node:crypto";`, `const { a, b: c } = process.getBuiltinModule("node:crypto");`],
  [
    `import os, { a } from "node:os";`,
    `const os = process.getBuiltinModule("node:os"); const { a } = process.getBuiltinModule("node:os");`,
  ],
  [`import process$1 from "node:process";`, `const process$1 = process.getBuiltinModule("node:process");`],
  [`import * as tty from "node:tty";`, `const tty = process.getBuiltinModule("node:tty");`],
  [`import { a } from "./names.js";`, `import { a } from "./names.js";`],
])("%s", ([imported, asked]) => {
  expect(builtinsAsked(`x;\n${imported}\ny;`)).toBe(`x;\n${asked}\ny;`);
});
