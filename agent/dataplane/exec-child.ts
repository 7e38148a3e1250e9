import { spawn, type ChildProcess, type ChildProcessByStdio } from "node:child_process";
import type { Readable, Writable } from "node:stream";

/** A process of its own, no shell; what it says is kept, and it ends with this one. */

/** What has ended. */
export interface Ran {
  /** undefined = it was ended by a signal, or could not start. */
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  /** Why it could not start: ENOENT. */
  readonly code: string | undefined;
  /** Without the last newline. */
  readonly stdout: string;
  readonly stderr: string;
}

export interface Child<Process extends ChildProcess = ChildProcess> {
  readonly process: Process;
  readonly ended: Promise<Ran>;
  /** TERM, and KILL when it takes no notice. */
  readonly end: () => void;
}

type CommandLine = readonly [file: string, ...args: string[]];
export type Fed = ChildProcessByStdio<Writable, Readable, Readable>;

const MAX_OUTPUT = 128 * 1024 * 1024; // iptables-save of 100,000 services is 40 MB
const GRACE_MS = 5_000;

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill();
});

/** Waits for its input. */
export function startFed([file, ...args]: CommandLine): Child<Fed> {
  const process = spawn(file, args, { stdio: "pipe", env: environment() });
  process.stdin.on("error", () => undefined); // it ended without reading: its exit code and words say why
  return keep(process);
}

/** Has no input. `spoken`: what it says is not kept, but read from its process. */
export function startDeaf([file, ...args]: CommandLine, { spoken = false } = {}): Child<ChildProcessByStdio<null, Readable, Readable>> {
  return keep(spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], env: environment() }), { spoken });
}

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: "C" };
}

function keep<Process extends ChildProcessByStdio<Writable | null, Readable, Readable>>(
  child: Process,
  { spoken = false } = {},
): Child<Process> {
  running.add(child);
  let late: NodeJS.Timeout | undefined;
  const end = (): void => {
    child.kill();
    late ??= setTimeout(() => child.kill("SIGKILL"), GRACE_MS).unref();
  };
  const [stdout, stderr] = spoken ? [[], []] : [chunksOf(child.stdout, end), chunksOf(child.stderr, end)];
  const ended = new Promise<Ran>((resolve) => {
    const tell = (how: Pick<Ran, "exitCode" | "signal" | "code">): void => {
      running.delete(child);
      clearTimeout(late);
      resolve({ ...how, stdout: textOf(stdout), stderr: textOf(stderr) });
    };
    child.once("error", (error: NodeJS.ErrnoException) => {
      if (child.pid === undefined) tell({ exitCode: undefined, signal: undefined, code: error.code });
    });
    child.once("close", (exitCode, signal) => tell({ exitCode: exitCode ?? undefined, signal: signal ?? undefined, code: undefined }));
  });
  return { process: child, ended, end };
}

function chunksOf(stream: Readable, onTooMuch: () => void): Buffer[] {
  const chunks: Buffer[] = [];
  let octets = 0;
  stream.on("data", (chunk: Buffer) => {
    octets += chunk.length;
    if (octets > MAX_OUTPUT) onTooMuch();
    else chunks.push(chunk);
  });
  return chunks;
}

function textOf(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks)
    .toString()
    .replace(/\r?\n$/, "");
}
