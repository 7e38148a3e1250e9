import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { access } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { JoinTokenCreated } from "#proto/agents.ts";
import { pause } from "#proto/backoff.ts";
import { AppError, describeError } from "#proto/error.ts";
import { paths } from "#proto/paths.ts";
import { NODE_CONFIG } from "../context.ts";
import { say, type GlobalOptions, type Invocation, type Io } from "../io.ts";
import { hasJoinedItself } from "../own-fleet.ts";
import { openSession } from "../session.ts";

/** A fleet of one host. Server and agent stay two processes: one that ends does not take the other's names or traffic along. */

const launcher = join(import.meta.dirname, "../../fairlead");
const SERVER_UNIT = "fairlead-server.service";
const AGENT_UNIT = "fairlead-agent.service";
const FILES = { nodeConfig: NODE_CONFIG, serverSettings: "/etc/fairlead/server.yaml" };
const UP_MS = 30_000;
const systemctl = async (...args: readonly string[]) => promisify(execFile)("systemctl", args);

export async function up({ options, io }: Invocation<{ readonly foreground?: true }>): Promise<number> {
  if (process.getuid?.() !== 0) throw new AppError("Usage", "only root can start an agent", { hint: "sudo fairlead up" });
  const asServices = options.foreground !== true && (await hasUnits());
  await hasJoinedItself(FILES, asServices ? undefined : io.env["FAIRLEAD_DATA_DIR"]); // before anything is started or enabled
  return asServices ? upAsServices(options, io) : upHere(options, io);
}

async function hasUnits(): Promise<boolean> {
  if (!(await isThere("/run/systemd/system"))) return false;
  return systemctl("cat", SERVER_UNIT, AGENT_UNIT).then(
    () => true,
    () => false,
  );
}

async function upAsServices(options: GlobalOptions, io: Io): Promise<number> {
  await systemctl("enable", "--now", "--quiet", SERVER_UNIT).catch(notStarted);
  await joinOurselves(options, io);
  await systemctl("enable", "--now", "--quiet", AGENT_UNIT).catch(notStarted);
  const server = await serverOf(options, io);
  io.out(`server and agent run, and will at each boot: systemctl status ${SERVER_UNIT} ${AGENT_UNIT}\n`);
  io.out(`another host joins with: fairlead token create, and there: sudo fairlead agent join ${server} --token-file FILE\n`);
  return 0;
}

function notStarted(cause: unknown): never {
  throw new AppError("InternalError", `a service did not start: ${describeError(cause).split("\n")[0] ?? ""}`, {
    cause,
    hint: `journalctl -u ${SERVER_UNIT} -u ${AGENT_UNIT}`,
  });
}

async function upHere(options: GlobalOptions, io: Io): Promise<number> {
  io.releaseSignals(); // both children have their time to end in order, however long that takes
  const signalled = untilSignal();
  const isAsked = (): boolean => signalled.stop.aborted;
  const server = start("server");
  try {
    await Promise.race([untilServes(options, io, signalled.stop), ended(server)]);
    if (isAsked()) return signalled.code();
    await joinOurselves(options, io);
    const agent = start("agent");
    try {
      await Promise.race([ended(server), ended(agent), aborted(signalled.stop)]);
      return signalled.code();
    } finally {
      await stop(agent);
    }
  } finally {
    await stop(server);
  }
}

function untilSignal(): { readonly stop: AbortSignal; readonly code: () => number } {
  const asked = new AbortController();
  const given = { code: 0 };
  for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }))
    process.on(signal, () => {
      given.code ||= code;
      asked.abort();
    });
  return { stop: asked.signal, code: () => given.code };
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

function start(part: "server" | "agent"): ChildProcess {
  return spawn(launcher, [part], { stdio: ["ignore", "inherit", "inherit"] });
}

/** What ends before it was asked to is a failure: it has said why. */
async function ended(child: ChildProcess): Promise<never> {
  await (child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined);
  throw new AppError("InternalError", `${child.spawnargs.at(-1) ?? ""} has ended (exit code ${child.exitCode ?? "none"}), see above`);
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill("SIGTERM");
  await exit;
}

async function untilServes(options: GlobalOptions, io: Io, stop: AbortSignal): Promise<void> {
  const deadline = performance.now() + UP_MS;
  while (!stop.aborted) {
    try {
      await serverOf(options, io);
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await pause(200, stop);
  }
}

/** Its address, when it answers. */
async function serverOf(options: GlobalOptions, io: Io): Promise<string> {
  await using session = await openSession(options, io);
  await session.client.transport.send({ path: paths.readyz, signal: io.stop, timeoutMs: 2000 });
  return session.context.server;
}

async function joinOurselves(options: GlobalOptions, io: Io): Promise<void> {
  if (await isThere(NODE_CONFIG)) {
    say(io, `this host has joined before (${NODE_CONFIG})`);
    return;
  }
  await using session = await openSession(options, io);
  const request = { ttlSeconds: 600, uses: 1, description: "fairlead up" };
  const { body } = await session.client.transport.send({ method: "POST", path: paths.joinTokens, body: request, signal: io.stop });
  const child = spawn(launcher, ["agent", "join", session.context.server, "--token-file", "-", "--no-start"], {
    stdio: ["pipe", "ignore", "inherit"],
  });
  child.stdin.end(JoinTokenCreated.parse(body).token);
  await once(child, "exit");
  if (child.exitCode !== 0) throw new AppError("InternalError", "this host could not join its own server, see above");
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
