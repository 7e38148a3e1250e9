import { writeSync } from "node:fs";
import { resolve } from "node:path";
import { Command, CommanderError, Option } from "commander";
import { AppError } from "#proto/error.ts";
import { openNotices } from "#proto/systemd.ts";
import { cleanUp } from "./cleanup.ts";
import { DEFAULT_CREDENTIALS, readMembership, stateDirOf, withStateDir, type Joined } from "./config.ts";
import { openKernelTools } from "./dataplane/exec.ts";
import { createWrites } from "./dataplane/writes.ts";
import { AGENT_EXAMPLES, CLEANUP_EXAMPLES, JOIN_EXAMPLES, RUN_EXAMPLES } from "./examples.ts";
import { parseAllowedRange } from "./dns/allowed-range.ts";
import { parseStubDomain } from "./dns/stub-domains.ts";
import { collect, conntrackOf, DEFAULT_DOCKER_SOCKET, openLog, repeated, withRunFlags, type CommonFlags, type RunFlags } from "./flags.ts";
import { forceExit } from "./force-exit.ts";
import { joinFleet, readToken } from "./join.ts";
import { joinedAlready } from "./joined-already.ts";
import { isAgentRunning, lockNamespace, lockState } from "./lock.ts";
import { defaultNodeName, ownVersion } from "./node/facts.ts";
import { AGENT_UNIT, startOwnService } from "./own-service.ts";
import { reportError } from "./report-error.ts";
import { runAgent } from "./run.ts";

/** The command line of the agent, and nothing else. */

const stop = new AbortController();
const notices = openNotices({ env: process.env, write: writeSync });
const writes = createWrites();
const tools = writes.watch(openKernelTools());
for (const name of ["SIGTERM", "SIGINT"] as const)
  process.on(name, () => {
    notices.stopping();
    stop.abort();
    void forceExit({ writes, exit: () => process.exit(0) });
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
  .addHelpText("after", AGENT_EXAMPLES);

const run = withRunFlags(program.command("run", { isDefault: true }).description("run the agent (what `fairlead agent` alone does)"));
run.addHelpText("after", RUN_EXAMPLES).action(async (flags: RunFlags) => runUntilStopped(flags));

withRunFlags(
  program
    .command("join <server>")
    .description("join this host to a fleet, once")
    .option("--token-file <file>", "file with the join token, or - for stdin")
    .addOption(new Option("--token <token>").hideHelp())
    .addOption(new Option("--name <name>", "name of this node").default(defaultNodeName(), "this host's own"))
    .addOption(
      repeated("--address <ip>", "an address by which other hosts reach this one; may be repeated", {
        parse: collect,
        otherwise: "found out",
      }),
    )
    .option(
      "--run",
      "go on to run the agent; a host that has joined this server already does only that, with no token and no server",
      false,
    )
    .option("--no-start", `do not start ${AGENT_UNIT}, where this host has it`)
    .allowExcessArguments() // refused by join, which does not print them: one may be a token
    .addHelpText("after", JOIN_EXAMPLES),
).action(join);

program
  .command("cleanup")
  .description("take everything of ours off this host: rules, addresses, the resolver's drop-in, saved state")
  .option("--dry-run", "only say what would go", false)
  .option("--purge", "the credential and the cache of compiled code too: the host must join again", false)
  .option("--kubeconfig <file>", "this node's credential", DEFAULT_CREDENTIALS)
  .option("--state-dir <folder>", "where the agent keeps what it knows")
  .option("--log-level <level>", "trace, debug, info, warn, error", "warn")
  .addHelpText("after", CLEANUP_EXAMPLES)
  .action(async (flags: CommonFlags & { readonly dryRun: boolean; readonly purge: boolean }) => {
    requireRoot();
    const { dryRun, purge } = flags;
    const log = openLog(flags.logLevel);
    const { removed, kept, fault } = await cleanUp(
      { stateDir: flags.stateDir, credentialsFile: flags.kubeconfig, dryRun, purge, tools, log },
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
  flags: RunFlags & { tokenFile?: string; token?: string; name: string; address: string[]; run: boolean; start: boolean },
  command: Command,
): Promise<void> {
  if (flags.token !== undefined) throw tokenInArguments();
  if (command.args.length > 1)
    throw new AppError("Usage", `join takes one argument, the server's address; there are ${command.args.length}`, {
      hint: "write it like: fairlead agent join https://10.0.0.5:7443 --token-file FILE",
    });
  requireRoot();
  const { kubeconfig: credentialsFile } = flags;
  if (flags.run && (await hasJoined(server, command, credentialsFile))) return runUntilStopped(flags);
  if (flags.tokenFile === undefined)
    throw new AppError("Usage", "--token-file is needed", { hint: "`fairlead token create` on the server makes a token" });
  const token = await readToken(flags.tokenFile);
  const { name, address: addresses } = flags;
  const stateDir = resolve(flags.stateDir ?? (await stateDirOf(credentialsFile)));
  const { membership, replaced } = await joinFleet({ server, token, name, addresses, stateDir, credentialsFile, tools }, stop.signal);
  const { node } = membership;
  process.stdout.write(`${node} has joined ${server}; its credential is in ${credentialsFile}\n`);
  if (replaced) process.stdout.write(`the credential that ${node} had before is revoked\n`);
  if (flags.run) await runUntilStopped(flags);
  else if (flags.start && credentialsFile === DEFAULT_CREDENTIALS && (await startOwnService(tools, stop.signal)))
    process.stdout.write(`${AGENT_UNIT} runs, and will at each boot\n`);
  else process.stdout.write(`${nextStep(credentialsFile, await isAgentRunning(stateDir))}\n`);
}

async function hasJoined(server: string, command: Command, credentialsFile: string): Promise<boolean> {
  const name: unknown = command.getOptionValueSource("name") === "cli" ? command.getOptionValue("name") : undefined;
  const membership = await joinedAlready({ server, name: typeof name === "string" ? name : undefined, credentialsFile });
  if (membership) process.stdout.write(`${membership.node} has joined ${server} before (${credentialsFile})\n`);
  return membership !== undefined;
}

function nextStep(credentialsFile: string, isRunning: boolean): string {
  const command = `fairlead agent${credentialsFile === DEFAULT_CREDENTIALS ? "" : ` --kubeconfig ${credentialsFile}`}`;
  if (!isRunning) return `next: ${command}`;
  return `the agent that is running takes up the new credential by itself; if it goes by another file, stop it, then: ${command}`;
}

async function runUntilStopped(flags: RunFlags): Promise<void> {
  requireRoot();
  if (flags.dockerRouted && flags.docker === undefined)
    throw new AppError("Usage", "--docker-routed goes with --docker, which it extends", {
      hint: "fairlead agent --docker --docker-routed",
    });
  const joined = await readMembership(flags.kubeconfig);
  const { connection, membership } = joined;
  const stateDir = resolve(flags.stateDir ?? membership.stateDir);
  const log = openLog(flags.logLevel);
  await using _namespace = await lockNamespace();
  await using _state = await lockState(stateDir);
  log.info({ node: membership.node, server: connection.server, stateDir, version: await ownVersion() }, "the agent starts");
  const {
    workloadsDir,
    docker,
    dockerRouted,
    dataplane,
    dnsListen,
    dnsListeners,
    dnsUpstream: dnsUpstreams,
    dnsStub,
    dnsAllow,
    configureResolver,
    masqueradeAll,
    nodePortAddress: nodePortCidrs,
    healthzListen,
    kubeconfig: credentialsFile,
  } = flags;
  const fixed = {
    credentialsFile,
    stateDir,
    workloadsDir,
    dockerSocket: docker === true ? DEFAULT_DOCKER_SOCKET : docker,
    dockerRouted,
    dataplane,
    dnsListen,
    dnsListeners,
    dnsUpstreams,
    configureResolver,
    masqueradeAll,
    nodePortCidrs,
    conntrack: conntrackOf(flags),
    healthzListen: healthzListen === "off" ? undefined : healthzListen,
    notices,
    log,
  };
  for (let next: Joined | undefined = joined; next;)
    next = await runAgent(
      {
        ...fixed,
        ...next,
        membership: await withStateDir(next.membership, { stateDir, credentialsFile }),
        dnsStubs: [...next.membership.dnsStubs.map(parseStubDomain), ...dnsStub],
        dnsAllow: [...next.membership.dnsAllow.map(parseAllowedRange), ...dnsAllow],
      },
      tools,
      stop.signal,
    );
  log.info("the agent has stopped; rules and addresses stay in place");
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
  return stop.signal.aborted && !(error instanceof CommanderError) ? 0 : reportError("fairlead agent", error);
}
