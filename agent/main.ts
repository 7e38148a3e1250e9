import { resolve } from "node:path";
import { Command, CommanderError, Option } from "commander";
import { pino, type Logger } from "pino";
import { AppError, describeError, errorCodes } from "#proto/error.ts";
import { parseIp } from "#proto/ip.ts";
import { cleanUp } from "./cleanup.ts";
import {
  DEFAULT_CREDENTIALS,
  DEFAULT_STATE_DIR,
  DEFAULT_WORKLOADS_DIR,
  readMembership,
  stateDirOf,
  withStateDir,
  type Joined,
} from "./config.ts";
import { openKernelTools } from "./dataplane/exec.ts";
import { DATAPLANES } from "./dataplane/select.ts";
import type { ListenAddress } from "./dns/listen.ts";
import { joinFleet, readToken } from "./join.ts";
import { isAgentRunning, lockNamespace, lockState } from "./lock.ts";
import { defaultNodeName, ownVersion } from "./node/facts.ts";
import { runAgent } from "./run.ts";

/** The command line of the agent, and nothing else. */

interface CommonFlags {
  readonly kubeconfig: string;
  readonly logLevel: string;
  readonly stateDir?: string;
}

interface RunFlags extends CommonFlags {
  readonly workloadsDir: string;
  readonly dataplane: string;
  readonly dnsListen: readonly ListenAddress[];
  readonly dnsUpstream: readonly ListenAddress[];
  readonly configureResolver: boolean;
  readonly masqueradeAll: boolean;
}

const STOP_WITHIN_MS = 1800;

const stop = new AbortController();
for (const name of ["SIGTERM", "SIGINT"] as const)
  process.on(name, () => {
    stop.abort();
    setTimeout(() => process.exit(0), STOP_WITHIN_MS).unref(); // whatever still hangs: rules and state stay as they are
  });

// Whoever read our output has enough (`fairlead agent --help | head`, a log reader that ended): that stops neither help nor agent.
for (const stream of [process.stdout, process.stderr])
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
  });

const program = new Command("fairlead agent")
  .description("Runs on each host: programs its kernel, answers its DNS questions, checks its workloads.")
  .version(await ownVersion())
  .exitOverride()
  .configureOutput({ writeOut: (text) => process.stdout.write(text), writeErr: (text) => process.stderr.write(text) })
  .addHelpText("after", examples());

const run = withRunFlags(program.command("run", { isDefault: true }).description("run the agent (what `fairlead agent` alone does)"));
run.action(async (flags: RunFlags) => runUntilStopped(flags));

withRunFlags(
  program
    .command("join <server>")
    .description("join this host to a fleet, once")
    .option("--token-file <file>", "file with the join token, or - for stdin")
    .addOption(new Option("--token <token>").hideHelp())
    .option("--name <name>", "name of this node", defaultNodeName())
    .option("--address <ip>", "an address by which other hosts reach this one; may be repeated (default: found out)", collect, [])
    .option("--run", "go on to run the agent", false)
    .allowExcessArguments() // refused by join, which does not print them: one may be a token
    .addHelpText("after", joinExamples()),
).action(join);

program
  .command("cleanup")
  .description("take everything of ours off this host: rules, addresses, the resolver's drop-in, saved state")
  .option("--dry-run", "only say what would go", false)
  .option("--purge", "the credential and the cache of compiled code too: the host must join again", false)
  .option("--kubeconfig <file>", "this node's credential", DEFAULT_CREDENTIALS)
  .option("--state-dir <folder>", "where the agent keeps what it knows")
  .option("--log-level <level>", "trace, debug, info, warn, error", "warn")
  .addHelpText("after", cleanupExamples())
  .action(async (flags: CommonFlags & { readonly dryRun: boolean; readonly purge: boolean }) => {
    requireRoot();
    const { dryRun, purge } = flags;
    const log = openLog(flags.logLevel);
    const { removed, kept, fault } = await cleanUp(
      { stateDir: flags.stateDir, credentialsFile: flags.kubeconfig, dryRun, purge, log },
      stop.signal,
    );
    const verb = dryRun ? "would remove" : "removed";
    for (const what of removed) process.stdout.write(`${verb} ${what}\n`);
    if (kept.length > 0) process.stdout.write(`not ours, and left as it is: ${kept.join(", ")}\n`);
    if (fault) throw fault;
    process.stdout.write(dryRun ? "" : "nothing of Fairlead is left on this host\n");
  });

try {
  if (process.argv.some((argument) => /(^|=)fl1\./.test(argument))) throw tokenInArguments(); // before anything prints it back
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
if (stop.signal.aborted) process.exit();

async function join(
  server: string,
  flags: RunFlags & { tokenFile?: string; token?: string; name: string; address: string[]; run: boolean },
  command: Command,
): Promise<void> {
  if (flags.token !== undefined) throw tokenInArguments();
  if (command.args.length > 1)
    throw new AppError("Usage", `join takes one argument, the server's address; there are ${command.args.length}`, {
      hint: "write it like: fairlead agent join https://10.0.0.5:7443 --token-file FILE",
    });
  requireRoot();
  if (flags.tokenFile === undefined)
    throw new AppError("Usage", "--token-file is needed", { hint: "`fairlead token create` on the server makes a token" });
  const token = await readToken(flags.tokenFile);
  const { name, address: addresses, kubeconfig: credentialsFile } = flags;
  const stateDir = resolve(flags.stateDir ?? (await stateDirOf(credentialsFile)));
  const { membership, replaced } = await joinFleet(
    { server, token, name, addresses, stateDir, credentialsFile, tools: openKernelTools() },
    stop.signal,
  );
  const { node } = membership;
  process.stdout.write(`${node} has joined ${server}; its credential is in ${credentialsFile}\n`);
  if (replaced) process.stdout.write(`the credential that ${node} had before is revoked\n`);
  if (flags.run) await runUntilStopped(flags);
  else process.stdout.write(`${nextStep(credentialsFile, await isAgentRunning(stateDir))}\n`);
}

function nextStep(credentialsFile: string, isRunning: boolean): string {
  const command = `fairlead agent${credentialsFile === DEFAULT_CREDENTIALS ? "" : ` --kubeconfig ${credentialsFile}`}`;
  if (!isRunning) return `next: ${command}`;
  return `the agent that is running takes up the new credential by itself; if it goes by another file, stop it, then: ${command}`;
}

async function runUntilStopped(flags: RunFlags): Promise<void> {
  requireRoot();
  const joined = await readMembership(flags.kubeconfig);
  const { connection, membership } = joined;
  const stateDir = resolve(flags.stateDir ?? membership.stateDir);
  const log = openLog(flags.logLevel);
  await using _namespace = await lockNamespace();
  await using _state = await lockState(stateDir);
  log.info({ node: membership.node, server: connection.server, stateDir, version: await ownVersion() }, "the agent starts");
  const {
    workloadsDir,
    dataplane,
    dnsListen,
    dnsUpstream: dnsUpstreams,
    configureResolver,
    masqueradeAll,
    kubeconfig: credentialsFile,
  } = flags;
  const fixed = {
    credentialsFile,
    stateDir,
    workloadsDir,
    dataplane,
    dnsListen,
    dnsUpstreams,
    configureResolver,
    masqueradeAll,
    log,
  };
  for (let next: Joined | undefined = joined; next;)
    next = await runAgent(
      { ...fixed, ...next, membership: await withStateDir(next.membership, { stateDir, credentialsFile }) },
      stop.signal,
    );
  log.info("the agent has stopped; rules and addresses stay in place");
}

function withRunFlags(command: Command): Command {
  return command
    .option("--kubeconfig <file>", "this node's credential", DEFAULT_CREDENTIALS)
    .option("--state-dir <folder>", `where the agent keeps what it knows (default: as it joined, or ${DEFAULT_STATE_DIR})`)
    .option("--workloads-dir <folder>", "Workload manifests of this host", DEFAULT_WORKLOADS_DIR)
    .addOption(new Option("--dataplane <driver>", "what programs the kernel").choices(DATAPLANES).default("auto"))
    .option(
      "--dns-listen <address>",
      "where DNS answers instead of 127.0.0.153:53, besides the DNS service's virtual IP; may be repeated",
      collectListen,
      [],
    )
    .option(
      "--dns-upstream <address>",
      "who is asked for all other names (default: whom the host's resolv.conf names, or named before it named this agent); may be repeated",
      collectListen,
      [],
    )
    .option("--configure-resolver", "make systemd-resolved ask this agent; `cleanup` undoes it", false)
    .option("--masquerade-all", "every connection through a virtual IP gets this host's address as source", false)
    .option("--log-level <level>", "trace, debug, info, warn, error", "info");
}

function openLog(level: string): Logger {
  if (!["trace", "debug", "info", "warn", "error"].includes(level))
    throw new AppError("Usage", `there is no log level "${level}"`, { hint: "use trace, debug, info, warn or error" });
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } });
}

function collect(value: string, all: readonly string[]): string[] {
  return [...all, value];
}

/** `10.0.0.1`, `10.0.0.1:5353`, `[::1]:53`. */
function collectListen(text: string, all: readonly ListenAddress[]): ListenAddress[] {
  const [, bracketed, plain, portText = "53"] = parseIp(text) ? ["", text] : (/^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text) ?? []);
  const address = bracketed ?? plain ?? "";
  const port = Number(portText);
  if (!parseIp(address) || port < 1 || port > 65_535)
    throw new AppError("Usage", `"${text}" is no address`, { hint: "write it like 10.0.0.1, 10.0.0.1:5353 or [fd00::1]:5353" });
  return [...all, { address, port }];
}

function requireRoot(): void {
  if (process.getuid?.() !== 0)
    throw new AppError("Usage", "the agent must run as root: it programs the kernel's packet filter", {
      hint: "run it with sudo, or as a system service",
    });
}

function tokenInArguments(): AppError {
  return new AppError("Usage", "a token in the command line can be read by every user of this host, and stays in the shell's history", {
    hint: "give it as --token-file FILE, or --token-file - and on stdin; this one should be deleted (`fairlead token delete ID`)",
  });
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // it has said why
  if (stop.signal.aborted) return 0;
  console.error(`fairlead agent: ${describeError(error)}`);
  if (error instanceof AppError && error.hint !== undefined) console.error(`  ${error.hint}`);
  return error instanceof AppError ? errorCodes[error.code].exit : 1;
}

function examples(): string {
  return `
Examples:
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt
  ssh server fairlead token create | sudo fairlead agent join https://10.0.0.5:7443 --token-file -
  sudo fairlead agent                          # runs until stopped; traffic and DNS state stay when it ends
  sudo fairlead agent --configure-resolver     # the host's own names too, through systemd-resolved
  fairlead agent run --help                    # all options
  sudo fairlead agent cleanup --dry-run        # what is ours on this host
  sudo fairlead agent cleanup                  # takes it all away
`;
}

function joinExamples(): string {
  return `
Examples:
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt
  ssh server fairlead token create | sudo fairlead agent join https://10.0.0.5:7443 --token-file -
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt --name vm-1 --address 192.168.7.21
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt --run   # and go on to run the agent
`;
}

function cleanupExamples(): string {
  return `
Examples:
  sudo fairlead agent cleanup --dry-run   # only says what would go; stop the agent before the rest
  sudo fairlead agent cleanup             # the host can run the agent again
  sudo fairlead agent cleanup --purge     # leaves the fleet: the credential goes, too

Exit code 1: something is left, or /etc/resolv.conf still names the agent; the message says what to do.
`;
}
