import { dirname, join, relative } from "node:path";
import { rolldown } from "rolldown";
import { inJavaScript } from "./javascript.ts";

// Of each process one module, with what it uses of its libraries, without comments and in ASCII: V8 keeps the text of all that it has loaded, with two octets a
// letter where one letter of a module is beyond Latin-1, and something for each module, function and name that nobody asks for (docs/adr/0335).

const root = join(import.meta.dirname, "../..");

/** Makes `into/file.js` of each of these of our own files, and beside it the modules that it imports only when it needs them. */
export async function bundle(into: string, files: readonly string[]): Promise<void> {
  for (const file of files) {
    const folder = dirname(file);
    const built = await rolldown({
      cwd: root,
      input: file,
      platform: "node",
      plugins: [
        {
          name: "our own files",
          transform: (code, id) => (isOwn(id) ? fromOnePlace(code, { id, folder }) : undefined),
          renderChunk: builtinsAsked,
        },
      ],
      onLog: (_level, { message }) => {
        throw new Error(`${file}: ${message}`);
      },
    });
    await built.write({
      dir: join(into, folder),
      entryFileNames: "[name].js",
      // Names of functions and classes stay: they stand in stack traces, and in messages of libraries.
      minify: { compress: { keepNames: { function: true, class: true } }, mangle: { keepNames: true }, codegen: { asciiOnly: true } },
      comments: false,
    });
    await built.close();
  }
}

function isOwn(id: string): boolean {
  return id.startsWith(root) && !relative(root, id).startsWith("node_modules");
}

/** What a module says of its own place is true in the place of the bundle, too. Where a `require` was made, the bundler's own takes its place. */
function fromOnePlace(code: string, { id, folder }: { readonly id: string; readonly folder: string }): string {
  const back = relative(folder, relative(root, id));
  return code
    .replace("const require = createRequire(import.meta.url);", "")
    .replaceAll("import.meta.url", `new URL(${JSON.stringify(back)}, import.meta.url)`)
    .replaceAll("import.meta.dirname", `(import.meta.dirname + ${JSON.stringify(`/${dirname(back)}`)})`)
    .replaceAll(/new URL\("([^"]+\.ts)"/g, (_all, path: string) => `new URL("${inJavaScript(path)}"`);
}

/** An import of a built-in module reads each of its exports, and loads what these need (docs/adr/0330); to ask for the module does not. */
export function builtinsAsked(code: string): string {
  const imports = /^import (?:(?:\* as )?([\w$]+)(?:, )?)? ?(?:\{(.*)\} )?from "(node:[^"]+)";$/gm;
  return code.replaceAll(imports, (_all, whole: string | undefined, parts: string | undefined, module: string) => {
    const names = [whole, parts && `{${parts.replaceAll(" as ", ": ")}}`].filter((name) => name !== undefined);
    return names.map((name) => `const ${name} = process.getBuiltinModule("${module}");`).join(" ");
  });
}
