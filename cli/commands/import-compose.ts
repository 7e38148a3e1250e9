import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseEnv } from "node:util";
import { importCompose } from "../import/compose.ts";
import { say, type Invocation } from "../io.ts";
import { readText } from "../manifest/read.ts";
import { toYaml } from "../output/structured.ts";
import { AppError, describeError } from "#proto/error.ts";

interface ImportOptions {
  readonly print: "services" | "override";
}

/** Prints; nothing is changed anywhere, so no server is needed. */
export async function importComposeFile({ args: [file = ""], options, io }: Invocation<ImportOptions>): Promise<number> {
  const text = await readText(file, io);
  const env = { ...(await readDotEnv(file === "-" ? "." : dirname(file))), ...io.env };
  const { services, override, notes } = importCompose(text, { file, namespace: options.namespace, env });
  for (const note of notes) say(io, note);
  if (services.length === 0) throw new AppError("Invalid", `${file} has no service with a port`);
  io.out(options.print === "override" ? toYaml(override) : services.map(toYaml).join("---\n"));
  return 0;
}

/** As Compose takes variables from it: those of the environment come first. */
async function readDotEnv(folder: string): Promise<Record<string, string | undefined>> {
  const text = await readFile(join(folder, ".env"), "utf8").catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw new AppError("Usage", `cannot read ${join(folder, ".env")}: ${describeError(error)}`, { cause: error });
  });
  return parseEnv(text);
}
