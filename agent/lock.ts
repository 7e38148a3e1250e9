import { once } from "node:events";
import { chmod, mkdir, readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import { createConnection, createServer } from "node:net";
import { join } from "node:path";
import { AppError } from "#proto/error.ts";

/** An abstract socket: its name is known in this network namespace only, whatever the folders and containers. */
const NAMESPACE_SOCKET = "fairlead-agent";

/**
 * Only one agent a network namespace: two would each undo the other's rules. Sockets, not files with a pid in them: the kernel lets go of them however
 * the process ends.
 */
export async function lockNamespace(name = NAMESPACE_SOCKET): Promise<AsyncDisposable> {
  try {
    return await listenAt(`\0${name}`);
  } catch (cause) {
    if (!isInUse(cause)) throw cause;
    throw running(await holderOf(name));
  }
}

/** Whether an agent runs in this network namespace: whatever its state folder is. */
export async function isAgentHere(name = NAMESPACE_SOCKET): Promise<boolean> {
  return isAnswered(`\0${name}`);
}

/** Anybody may take an abstract name, so it is said when it was not root. */
function running(holder: Holder | undefined): AppError {
  if (holder && holder.uid !== 0)
    return new AppError("Usage", `process ${holder.pid} of the user ${holder.uid} holds the agent's lock, and is no agent`, {
      hint: `end it (\`sudo kill ${holder.pid}\`) and start again`,
    });
  const who = holder ? ` (process ${holder.pid})` : "";
  return new AppError("Usage", `an agent is running in this network namespace${who}`, { hint: "stop it first: a host has one agent" });
}

/** Only one agent a state folder, also when containers with their own network share it. */
export async function lockState(stateDir: string): Promise<AsyncDisposable> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const path = join(stateDir, "agent.sock");
  if (await isAnswered(path)) throw held(stateDir);
  await rm(path, { force: true }); // left by one that was killed
  try {
    const lock = await listenAt(path);
    await chmod(path, 0o600);
    return lock;
  } catch (cause) {
    if (await isAnswered(path)) throw held(stateDir);
    throw new AppError("Usage", `cannot use the state folder ${stateDir}`, {
      cause,
      hint: "is the path longer than 90 characters, or not writable?",
    });
  }
}

/** Whether an agent runs with the state folder. */
export async function isAgentRunning(stateDir: string): Promise<boolean> {
  return isAnswered(join(stateDir, "agent.sock"));
}

function held(stateDir: string): AppError {
  return new AppError("Usage", `an agent with the state folder ${stateDir} is running, in another network namespace`, {
    hint: "stop it first: a state folder belongs to one host",
  });
}

/** Closing it removes the socket's file, too. */
async function listenAt(path: string): Promise<AsyncDisposable> {
  const server = createServer((connection) => connection.destroy());
  server.listen(path);
  await once(server, "listening");
  server.unref();
  return {
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}

async function isAnswered(path: string): Promise<boolean> {
  const probe = createConnection(path);
  try {
    await once(probe, "connect");
    return true;
  } catch {
    return false;
  } finally {
    probe.destroy();
  }
}

function isInUse(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EADDRINUSE";
}

interface Holder {
  readonly pid: string;
  readonly uid: number;
}

/** Who holds the abstract socket, for the message. Processes of other pid namespaces are not seen. */
async function holderOf(name: string): Promise<Holder | undefined> {
  const sockets = await readFile("/proc/net/unix", "utf8").catch(() => "");
  const inode = sockets
    .split("\n")
    .find((line) => line.endsWith(` @${name}`))
    ?.split(/\s+/)[6];
  if (inode === undefined) return undefined;
  for (const pid of (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry)))
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => []))
      if ((await readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")) === `socket:[${inode}]`)
        return stat(`/proc/${pid}`).then(
          ({ uid }) => ({ pid, uid }),
          () => undefined,
        );
  return undefined;
}
