import { Command } from "commander";
import type { Io } from "../io.ts";
import { declareFleet } from "./fleet.ts";
import { declareObjects } from "./objects.ts";
import { declareOthers, declareShell } from "./shell.ts";
import { binder } from "./tree.ts";
import { declareWorkloads } from "./workloads.ts";

/** Words of kubectl, and others that people try, that are said differently here. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  create: "apply -f FILE",
  replace: "apply -f FILE",
  patch: "apply -f FILE",
  edit: "get KIND NAME -o yaml, and then apply -f FILE",
  set: "apply -f FILE",
  label: "apply -f FILE, or register NAME --label for a workload",
  rm: "delete KIND NAME",
  remove: "delete KIND NAME",
  list: "get KIND",
  ls: "get KIND",
  show: "describe KIND NAME",
  top: "status",
  "cluster-info": "status",
  cordon: "drain NODE",
  uncordon: "drain NODE --undo",
  unregister: "deregister NAME",
  join: "agent join https://SERVER:7443 --token-file FILE",
  cleanup: "agent cleanup",
  lookup: "dns lookup NAME",
  resolve: "dns lookup NAME",
  dig: "dns lookup NAME",
};

function outputError(text: string, write: (text: string) => void): void {
  const word = /unknown command '([^']+)'/.exec(text)?.[1] ?? "";
  const instead = Object.hasOwn(OTHER_WORDS, word) ? OTHER_WORDS[word] : undefined;
  // The closest word in letters is a worse guess than the one in meaning.
  write(instead === undefined ? text : `error: unknown command '${word}'\nhint: here it is: fairlead ${instead}\n`);
}

/** The whole command tree. Building it loads no command: `--help` and completion need only this. */
export function createProgram(io: Io, onExit: (code: number) => void): Command {
  const program = new Command("fairlead");
  // Set before the commands are made, because they inherit it.
  program
    .description("Kubernetes-style services for plain Linux hosts: one virtual IP and one DNS name per service.")
    .option("--kubeconfig <file>", "file with the server's address and the credential")
    .option("--context <name>", "context of that file to use")
    .option("-n, --namespace <name>", "namespace (default: the context's, or default)")
    .exitOverride()
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text), outputError, getOutHasColors: () => false })
    .showHelpAfterError("hint: add --help to see how it is written")
    .addHelpText("after", "\nfairlead COMMAND --help tells about a command, `fairlead help exit-codes` about exit codes.\n");
  const tree = { program, bind: binder(io, onExit) };
  declareObjects(tree);
  declareWorkloads(tree);
  declareFleet(tree);
  declareShell(tree);
  declareOthers(program);
  return program;
}
