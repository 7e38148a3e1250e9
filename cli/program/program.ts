import { Command } from "commander";
import type { Io } from "../io.ts";
import { declareFleet } from "./fleet.ts";
import { declareObjects } from "./objects.ts";
import { declareOthers, declareShell } from "./shell.ts";
import { binder } from "./tree.ts";
import { declareWorkloads } from "./workloads.ts";

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
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text), getOutHasColors: () => false })
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
