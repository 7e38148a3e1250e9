import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile } from "node:fs/promises";
import { waitFor } from "../wait-for.ts";

export interface Ended {
  exitCode: number | null;
  signal: NodeJS.Signals | null;
}

// A program that runs until it is stopped. It goes on when this process ends (a fleet that is kept); the fleet's tear-down finds it.
export interface Program extends AsyncDisposable {
  readonly pid: number;
  readonly logFile: string;
  readonly ended: Promise<Ended>; // by itself does not keep this process from ending
  output(): Promise<string>; // stdout and stderr so far
  waitForLine(pattern: RegExp, options?: { timeoutMs?: number }): Promise<RegExpExecArray>; // the first line that matches, also one already printed
  signal(name: NodeJS.Signals): void;
  stop(options?: { graceMs?: number }): Promise<Ended>; // TERM, and KILL when it has not ended in time
  kill(): Promise<Ended>;
}

export async function startProgram(
  file: string,
  args: readonly string[],
  { env, logFile }: { env: Record<string, string>; logFile: string },
): Promise<Program> {
  await using log = await open(logFile, "a");
  // Not execa: the log is a file descriptor of the program's own, so that it can go on when we are gone.
  const child = spawn(file, args, { env, detached: true, stdio: ["ignore", log.fd, log.fd] });
  let running = true;
  const ended = new Promise<Ended>((resolve) => {
    child.once("exit", (exitCode, killedBy) => {
      running = false;
      resolve({ exitCode, signal: killedBy });
    });
  });
  await once(child, "spawn"); // rejects when there is no such program
  const { pid } = child;
  if (pid === undefined) throw new Error(`${file} has started and has no pid`);
  child.unref(); // a fleet that is kept does not keep us
  const output = () => readFile(logFile, "utf8");
  const signal = (name: NodeJS.Signals): void => {
    if (running) process.kill(pid, name);
  };
  const stop = async ({ graceMs = 5_000 } = {}): Promise<Ended> => {
    signal("SIGTERM");
    const late = setTimeout(() => signal("SIGKILL"), graceMs);
    return ended.finally(() => clearTimeout(late));
  };
  return {
    pid,
    logFile,
    ended,
    output,
    signal,
    stop,
    kill() {
      signal("SIGKILL");
      return ended;
    },
    async waitForLine(pattern, { timeoutMs = 10_000 } = {}) {
      const what = `${file} ${args.join(" ")} to print ${String(pattern)}`;
      const found = await waitFor(
        async () => {
          const wasRunning = running; // before reading: what is printed last must be seen
          const text = await output();
          const match = text
            .split("\n")
            .map((line) => pattern.exec(line))
            .find((hit) => hit !== null);
          return match ?? (wasRunning ? undefined : { endedWith: text });
        },
        { what, timeoutMs },
      ).catch(async (cause: unknown) => {
        throw new Error(`${what}: it did not within ${timeoutMs} ms, but printed: ${(await output()).slice(-2_000)}`, { cause });
      });
      if ("endedWith" in found) throw new Error(`${what}: it ended before, and had printed: ${found.endedWith.slice(-2_000)}`);
      return found;
    },
    async [Symbol.asyncDispose]() {
      await stop();
    },
  };
}
