import { spawn, type ChildProcess } from "node:child_process";
import { constants } from "node:os";
import { AppError, describeError } from "#proto/error.ts";
import type { Invocation } from "../io.ts";
import { readVariables } from "./env.ts";

const PASSED_ON = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"] as const;
/** The terminal sends these to all of its foreground processes, our child among them: passed on they would come twice. */
const FROM_TERMINAL: ReadonlySet<string> = new Set(["SIGINT", "SIGQUIT", "SIGWINCH"]);

/** What was in the environment before wins over nothing: the services' variables replace it, as a kubelet's would. */
export async function run({ args, options, io }: Invocation<object>): Promise<number> {
  const [command = "", ...rest] = args;
  const variables = await readVariables([], options, io);
  if (io.stop.aborted) return 130;
  io.releaseSignals();
  const child = spawn(command, rest, { stdio: "inherit", env: { ...process.env, ...Object.fromEntries(variables) } });
  const stopPassing = passSignals(child);
  try {
    return await exitCodeOf(child, command);
  } finally {
    stopPassing();
  }
}

function passSignals(child: ChildProcess): () => void {
  const listeners = PASSED_ON.map((signal) => {
    const listener = (): void => {
      if (!(process.stdin.isTTY && FROM_TERMINAL.has(signal))) child.kill(signal);
    };
    process.on(signal, listener);
    return { signal, listener };
  });
  return () => {
    for (const { signal, listener } of listeners) process.off(signal, listener);
  };
}

/** As a shell tells it: 128 + the signal's number, 127 for no such command, 126 for one that cannot be started. */
function exitCodeOf(child: ChildProcess, command: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
    child.once("error", (cause: NodeJS.ErrnoException) => {
      const code = cause.code === "ENOENT" ? 127 : cause.code === "EACCES" ? 126 : undefined;
      if (code === undefined) reject(new AppError("Usage", `cannot start ${command}: ${describeError(cause)}`, { cause }));
      else {
        process.stderr.write(`error: ${command}: ${code === 127 ? "no such command" : "may not be executed"}\n`);
        resolve(code);
      }
    });
  });
}
