import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import type { Result } from "./check.ts";
import { killLeftBehind } from "./left-behind.ts";

const MAX_OUTPUT_BYTES = 4096;
/** What an ended command had printed comes a moment after its end; a child of its that lives on may keep the pipe open for ever. */
const LAST_WORDS_MS = 100;

/**
 * A command from a file of this host. What it started is killed when it ends or its time is over, also in sessions of its own (all that has kept its
 * environment and its user, ADR 0215); only the beginning of its output is kept, and nothing of the agent's environment but the PATH is passed on.
 */
export async function runCommand(
  [file = "", ...args]: readonly string[],
  { timeoutMs, address }: { readonly timeoutMs: number; readonly address: string },
  signal: AbortSignal,
): Promise<Result> {
  signal.throwIfAborted();
  const mark = randomUUID();
  let pid: number | undefined;
  const result = await new Promise<Result>((resolve) => {
    const child = spawn(file, args, {
      detached: true, // a process group of its own, to be killed as a whole
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"], LC_ALL: "C", FAIRLEAD_ADDRESS: address, FAIRLEAD_CHECK: mark },
    });
    ({ pid } = child);
    let output = "";
    let timedOut = false;
    const collect = (chunk: Buffer): void => {
      if (output.length < MAX_OUTPUT_BYTES) output += chunk.toString("utf8").slice(0, MAX_OUTPUT_BYTES - output.length);
    };
    const stop = (): void => killGroup(child);
    const timer = setTimeout(() => {
      timedOut = true;
      stop();
    }, timeoutMs);
    const end = (found: Result): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      stop();
      child.stdout.destroy(); // a grandchild in a group of its own may hold it open
      child.stderr.destroy();
      resolve(found);
    };
    signal.addEventListener("abort", stop, { once: true });
    child.stdout.on("data", collect);
    child.stderr.on("data", collect);
    child.once("error", (error) => end({ passed: false, reason: "CannotStart", message: error.message.slice(0, 500) }));
    child.once("exit", (code, killedBy) => {
      const found = (): Result => {
        if (code === 0) return { passed: true };
        if (timedOut) return { passed: false, reason: "Timeout", message: `${file} did not end within ${timeoutMs} ms` };
        const text = `${file} ended with ${code ?? killedBy ?? "?"}: ${output.trim()}`;
        return { passed: false, reason: "CommandFailed", message: text.slice(0, 500) };
      };
      const late = setTimeout(() => end(found()), LAST_WORDS_MS);
      child.once("close", () => {
        clearTimeout(late);
        end(found());
      });
    });
  });
  if (pid !== undefined) await killLeftBehind(pid, mark);
  signal.throwIfAborted();
  return result;
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // ESRCH: all of it has ended
  }
}
