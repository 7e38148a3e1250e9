import { Command, Option } from "commander";
import type { Command as Run, GlobalOptions, Invocation, Io } from "../io.ts";

/** What every declaration is given: the program to add to, and how to bind a command to the module that does it, loaded only when it is called. */
export interface Tree {
  readonly program: Command;
  readonly bind: Bind;
}

export type Bind = <Options>(command: Command, load: () => Promise<Run<Options>>) => void;

/** `onExit` is told the code of the one command that ran. */
export function binder(io: Io, onExit: (code: number) => void): Bind {
  return <Options>(command: Command, load: () => Promise<Run<Options>>): void => {
    command.action(async () => {
      const run = await load();
      const invocation: Invocation<Options> = { args: command.args, options: command.optsWithGlobals<Options & GlobalOptions>(), io };
      onExit(await run(invocation));
    });
  };
}

/** `--help` ends with these. */
export function examples(command: Command, lines: readonly string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}\n`).join("")}`);
}

/** An option that may be repeated; `otherwise` says in words what holds without it. */
export function repeated(flags: string, description: string, otherwise = "none"): Option {
  return new Option(flags, description).argParser<string[]>((value, all) => [...all, value]).default([], otherwise);
}

export const waitOption = (): Option => new Option("--wait", "return when the change is live on every ready node");
export const timeoutOption = (): Option => new Option("--timeout <duration>", "give up waiting after so long").default("30s");
export const selectorOption = (): Option =>
  new Option("-l, --selector <labels>", "only objects with these labels: app=web,tier!=db,env in (a,b)");
export const allNamespacesOption = (): Option => new Option("-A, --all-namespaces", "in all namespaces");
export const fileOption = (): Option => repeated("-f, --filename <path>", "file, folder, or - for stdin; may be repeated");
export const recursiveOption = (): Option => new Option("-R, --recursive", "look into folders within the folder of -f");
