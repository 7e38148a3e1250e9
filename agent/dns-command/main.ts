import { Command, Option } from "commander";
import { DEFAULT_CREDENTIALS } from "#agent/config.ts";
import { parseListen } from "#agent/flags.ts";
import { reportError } from "#agent/report-error.ts";
import { AppError } from "#proto/error.ts";
import { CONTAINERS_EXAMPLES, DNS_EXAMPLES, INSTALL_EXAMPLES, LOOKUP_EXAMPLES, STATUS_EXAMPLES, UNINSTALL_EXAMPLES } from "./examples.ts";
import { PROBES_PORT } from "./ask-agent.ts";
import { containers, install, uninstall, type InstallFlags } from "./install.ts";
import { lookAtThisHost } from "./host.ts";
import { exitCodeOf, lookup, parseType, renderLookup, type LookupFlags } from "./lookup.ts";
import { renderStatus, resolverStatus } from "./status.ts";

/** The command line of `fairlead dns`: this host's resolver, and what is behind a name. */

const print = (text: string): void => void process.stdout.write(text);

// Whoever read our output has enough (`| head`).
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });

const program = new Command("fairlead dns")
  .description(
    "This host's own resolver: makes it ask the agent for the fleet's names, shows who answers what, tells why a name is what it is.",
  )
  .exitOverride()
  .helpCommand(false)
  .addHelpText("after", DNS_EXAMPLES);

const command = (name: string, description: string, examples: string): Command =>
  program
    .command(name)
    .description(description)
    .option("--kubeconfig <file>", "this node's credential", DEFAULT_CREDENTIALS)
    .addHelpText("after", examples);

const output = (): Option => new Option("-o, --output <format>", "form of the output").choices(["text", "json"]).default("text");

const agentPlace = (): Option =>
  new Option("--agent <address>", "where this host's agent has its probes (--healthz-listen)").default(`127.0.0.1:${PROBES_PORT}`);

interface StatusFlags {
  readonly kubeconfig: string;
  readonly agent: string;
  readonly output: "text" | "json";
}

command("install", "make this host ask the agent for the fleet's names; other names are asked as before", INSTALL_EXAMPLES)
  .option("--write", "change files that somebody else may have an eye on, like /etc/resolv.conf", false)
  .option("--dry-run", "only say what would be done", false)
  .action(async (flags: InstallFlags) => {
    if (!flags.dryRun && flags.write) requireRoot();
    process.exitCode = await install(flags, print);
  });

command("status", "show who answers what, and ask by each way", STATUS_EXAMPLES)
  .addOption(agentPlace())
  .addOption(output())
  .action(async ({ kubeconfig, agent, output: form }: StatusFlags) => {
    const status = await resolverStatus(await lookAtThisHost(kubeconfig), parseListen(agent, PROBES_PORT));
    print(form === "json" ? `${JSON.stringify(status, undefined, 2)}\n` : renderStatus(status));
    process.exitCode = status.ok ? 0 : 1;
  });

command("uninstall", "put this host's resolver back as it was, byte for byte", UNINSTALL_EXAMPLES)
  .option("--dry-run", "only say what would go", false)
  .action(async (flags: { readonly dryRun: boolean }) => {
    if (!flags.dryRun) requireRoot();
    process.exitCode = await uninstall(flags, print);
  });

command("containers", "print what Docker's containers need to ask the agent", CONTAINERS_EXAMPLES)
  .option("-n, --namespace <name>", "whose services need no namespace in their name", "default")
  .addOption(output())
  .action(async (flags: Parameters<typeof containers>[0]) => {
    process.exitCode = await containers(flags, print);
  });

command("lookup <name>", "tell what this host answers for a name, and why; an address is looked up by its reverse name", LOOKUP_EXAMPLES)
  .option("--type <type>", "A, AAAA, CNAME, NS, PTR, SOA, SRV or TXT", parseType, "A")
  .option("--node <name>", "as another node has it, where its agent can be asked from here")
  .option("--trace", "and the records that follow from each object", false)
  .addOption(agentPlace())
  .addOption(output())
  .action(async (name: string, flags: LookupFlags & { readonly trace: boolean; readonly output: "text" | "json" }) => {
    const found = await lookup(name, flags);
    print(flags.output === "json" ? `${JSON.stringify(found, undefined, 2)}\n` : renderLookup(found, flags));
    process.exitCode = exitCodeOf(found);
  });

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = reportError("fairlead dns", error);
}

function requireRoot(): void {
  if (process.getuid?.() !== 0) throw new AppError("Usage", "this changes the host, which only root may do", { hint: "run it with sudo" });
}
