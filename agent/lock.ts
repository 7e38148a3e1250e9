import { chmod, mkdir, rm } from "node:fs/promises";
import { createConnection, createServer } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { AppError } from "#proto/error.ts";

/**
 * Only one agent a state folder. A socket, not a file with a pid in it: the kernel lets go of it however the process ends, and it works between
 * containers that share the folder.
 */
export async function takeLock(stateDir: string): Promise<AsyncDisposable> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const path = join(stateDir, "agent.sock");
  if (await isAnswered(path)) throw held(stateDir);
  await rm(path, { force: true }); // left by one that was killed
  const server = createServer((connection) => connection.destroy());
  server.listen(path);
  try {
    await once(server, "listening");
  } catch (cause) {
    if (await isAnswered(path)) throw held(stateDir);
    throw new AppError("Usage", `cannot use the state folder ${stateDir}`, {
      cause,
      hint: "is the path longer than 90 characters, or not writable?",
    });
  }
  await chmod(path, 0o600);
  server.unref();
  return {
    async [Symbol.asyncDispose]() {
      server.close();
      await rm(path, { force: true });
    },
  };
}

function held(stateDir: string): AppError {
  return new AppError("Usage", `an agent with the state folder ${stateDir} is running`, {
    hint: "stop it first, or give this one another --state-dir",
  });
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
