import { execa } from "execa";
import { join } from "node:path";
import { createProgram } from "#cli/program/program.ts";
import type { Io } from "#cli/io.ts";
import type { Command } from "commander";
import type { HelpPage } from "../package/roff.ts";

// The help text of every command: those of the command line are asked here, those with a main of their own by the launcher.

const launcher = join(import.meta.dirname, "../../fairlead");
/** In the order of the manual; the demo is for those who have the sources. */
export const OWN_MAINS = ["server", "agent", "dns"] as const;
const WIDTH = 120;

const silent: Io = {
  env: {},
  stdoutIsTerminal: false,
  stderrIsTerminal: false,
  stop: new AbortController().signal,
  unread: new AbortController().signal,
  out: () => undefined,
  err: () => undefined,
  readStdin: async () => "",
  releaseSignals: () => undefined,
};

export function commandLine(): Command {
  return createProgram(silent, () => undefined);
}

/** The manuals, each with its subcommands; the first is that of `fairlead` itself. */
export async function helpPages(): Promise<readonly (readonly [HelpPage, ...HelpPage[]])[]> {
  const program = commandLine();
  const own: readonly string[] = [...OWN_MAINS, "demo"];
  const commands = program.commands.filter((one) => !one.name().startsWith("__") && !own.includes(one.name()));
  const others = await Promise.all(OWN_MAINS.map((name) => pagesOf([name])));
  return [[pageOf(program, [])], ...others, ...commands.map((one) => below(one, [one.name()]))];
}

function below(command: Command, words: readonly string[]): readonly [HelpPage, ...HelpPage[]] {
  return [pageOf(command, words), ...command.commands.flatMap((one) => below(one, [...words, one.name()]))];
}

function pageOf(command: Command, words: readonly string[]): HelpPage {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => WIDTH });
  command.outputHelp();
  return { name: ["fairlead", ...words].join(" "), text };
}

async function pagesOf(words: readonly string[]): Promise<readonly [HelpPage, ...HelpPage[]]> {
  const { stdout } = await execa(launcher, [...words, "--help"], { stdin: "ignore", env: { COLUMNS: String(WIDTH) } });
  const page = { name: ["fairlead", ...words].join(" "), text: stdout };
  const [, listed = ""] = /^Commands:\n((?: .*\n)*)/m.exec(stdout) ?? [];
  const names = [...listed.matchAll(/^ {2}([a-z]+)(?:\|\w+)? /gm)].map(([, name = ""]) => name).filter((name) => name !== "help");
  return [page, ...(await Promise.all(names.map((name) => pagesOf([...words, name])))).flat()];
}
