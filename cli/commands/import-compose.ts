import { importCompose } from "../import/compose.ts";
import { say, type Invocation } from "../io.ts";
import { readText } from "../manifest/read.ts";
import { toYaml } from "../output/structured.ts";
import { AppError } from "#proto/error.ts";

interface ImportOptions {
  readonly print: "services" | "override";
}

/** Prints; nothing is changed anywhere, so no server is needed. */
export async function importComposeFile({ args: [file = ""], options, io }: Invocation<ImportOptions>): Promise<number> {
  const { services, override, notes } = importCompose(await readText(file, io), { file, namespace: options.namespace, env: io.env });
  for (const note of notes) say(io, note);
  if (services.length === 0) throw new AppError("Invalid", `${file} has no service with a port`);
  io.out(options.print === "override" ? toYaml(override) : services.map(toYaml).join("---\n"));
  return 0;
}
