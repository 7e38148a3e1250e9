import { spawn, type ChildProcess } from "node:child_process";
import { access, constants as modes, stat } from "node:fs/promises";
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import { AppError, describeError } from "#proto/error.ts";

/** A program that a command starts in its own place: same terminal, signals passed on, its exit code. */

const PASSED_ON = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT"] as const;
export type PassedOn = (typeof PASSED_ON)[number];
/** The terminal sends these to all of its foreground processes, our child among them: passed on they would come twice. */
const FROM_TERMINAL: ReadonlySet<string> = new Set(["SIGINT", "SIGQUIT", "SIGWINCH"]);

export interface Child {
  /** As a shell tells it: 128 + the signal's number, 127 for no such command, 126 for one that cannot be started. */
  readonly exitCode: Promise<number>;
}

/** 127: there is no such command, 126: it may not be executed; undefined: it can be started, as far as that can be told without doing it. */
export async function startFault([command = ""]: readonly string[], path = process.env["PATH"] ?? ""): Promise<126 | 127 | undefined> {
  const places = command.includes("/") ? [command] : path.split(delimiter).map((folder) => join(folder, command));
  let fault: 126 | 127 = 127;
  for (const place of places) {
    const found = await stat(place).catch(() => undefined);
    if (!found || (found.isDirectory() && place !== command)) continue;
    const isAllowed = found.isFile() && (await access(place, modes.X_OK).then(() => true, () => false)); // prettier-ignore
    if (isAllowed) return undefined;
    fault = 126;
  }
  return fault;
}

export function tellStartFault(command: string, fault: 126 | 127): void {
  process.stderr.write(`error: ${command}: ${fault === 127 ? "no such command" : "may not be executed"}\n`);
}

/** `before` is waited for before a signal is passed on. The caller must have let go of signals. */
export function startChild(
  [command = "", ...args]: readonly string[],
  { env, before = () => undefined }: { env: NodeJS.ProcessEnv; before?: (signal: PassedOn) => Promise<void> | undefined },
): Child {
  const child = spawn(command, args, { stdio: "inherit", env });
  const stopPassing = passSignals(child, before);
  return { exitCode: exitCodeOf(child, command).finally(stopPassing) };
}

function passSignals(child: ChildProcess, before: (signal: PassedOn) => Promise<void> | undefined): () => void {
  const listeners = PASSED_ON.map((signal) => {
    const listener = (): void => {
      if (process.stdin.isTTY && FROM_TERMINAL.has(signal)) return;
      const first = before(signal);
      if (first) void first.finally(() => child.kill(signal));
      else child.kill(signal);
    };
    process.on(signal, listener);
    return { signal, listener };
  });
  return () => {
    for (const { signal, listener } of listeners) process.off(signal, listener);
  };
}

function exitCodeOf(child: ChildProcess, command: string): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("exit", (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
    child.once("error", (cause: NodeJS.ErrnoException) => {
      const code = cause.code === "ENOENT" ? 127 : cause.code === "EACCES" ? 126 : undefined;
      if (code === undefined) reject(new AppError("Usage", `cannot start ${command}: ${describeError(cause)}`, { cause }));
      else {
        tellStartFault(command, code);
        resolve(code);
      }
    });
  });
}
