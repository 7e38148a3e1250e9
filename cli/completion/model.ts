import type { Command } from "commander";
import { kindNames, kinds, type KindFacts } from "#proto/kinds.ts";

/** The command tree as completion needs it. */
export interface CommandModel {
  /** `get`, `token create`; empty for the program itself. */
  readonly path: string;
  readonly summary: string;
  readonly commands: readonly { readonly name: string; readonly summary: string }[];
  readonly options: readonly OptionModel[];
  readonly operands: Operands;
}

export interface OptionModel {
  readonly short: string | undefined;
  readonly long: string | undefined;
  readonly summary: string;
  /** What its value may be; undefined for a switch. */
  readonly value: Operands | undefined;
}

/** Fixed words, names that the server knows, files, or nothing known. `kindThenNames`: a kind first, then names of it. */
export type Operands =
  | { readonly form: "words"; readonly words: readonly string[] }
  | { readonly form: "names"; readonly kind: string }
  | { readonly form: "kindThenNames" }
  | { readonly form: "files" }
  | { readonly form: "none" };

const NONE: Operands = { form: "none" };

const OPERANDS: Readonly<Record<string, Operands>> = {
  get: { form: "kindThenNames" },
  describe: { form: "kindThenNames" },
  delete: { form: "kindThenNames" },
  deregister: { form: "names", kind: "workloads" },
  drain: { form: "names", kind: "nodes" },
  env: { form: "names", kind: "services" },
  completion: { form: "words", words: ["bash", "zsh", "fish"] },
  dns: { form: "words", words: ["install", "status", "uninstall", "containers", "lookup"] }, // a program of its own, beside the agent
};

const VALUES: Readonly<Record<string, Operands>> = {
  "--namespace": { form: "names", kind: "namespaces" },
  "--node": { form: "names", kind: "nodes" },
  "--workload": { form: "names", kind: "workloads" },
  "--filename": { form: "files" },
  "--kubeconfig": { form: "files" },
};

/** The words that name kinds, the usual one first. */
export const KIND_WORDS: readonly string[] = [
  ...kindNames.map((name) => kinds[name].plural),
  ...kindNames.map((name) => kinds[name].singular),
  ...kindNames.flatMap((name) => (kinds[name] as KindFacts).shortNames),
  "all",
];

/** Depth first, the program itself first. */
export function modelOf(program: Command): CommandModel[] {
  const shared = program.options;
  const visit = (command: Command, path: string): CommandModel[] => {
    const visible = command.commands.filter((one) => !one.name().startsWith("__"));
    const model: CommandModel = {
      path,
      summary: command.summary(),
      commands: visible.map((one) => ({ name: one.name(), summary: one.summary() })),
      options: [...(path === "" ? [] : command.options), ...shared].map(optionModel).concat(HELP),
      operands:
        path === "help"
          ? { form: "words", words: [...program.commands.map((one) => one.name()).filter((name) => !name.startsWith("__")), "exit-codes"] }
          : (OPERANDS[path] ?? NONE),
    };
    return [model, ...visible.flatMap((one) => visit(one, path === "" ? one.name() : `${path} ${one.name()}`))];
  };
  return visit(program, "");
}

const HELP: OptionModel = { short: "-h", long: "--help", summary: "display help for command", value: undefined };

function optionModel({ short, long, description, required, optional, argChoices }: Command["options"][number]): OptionModel {
  const takesValue = required || optional;
  const value = argChoices ? { form: "words" as const, words: argChoices } : (VALUES[long ?? ""] ?? NONE);
  return { short, long, summary: description, value: takesValue ? value : undefined };
}
