import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import type { Writable } from "node:stream";
import { execa } from "execa";
import { AppError } from "#proto/error.ts";
import { writeLines, type ToolInput } from "./tool-input.ts";

/** The only place of the data plane that starts processes: argument arrays, a time limit, bounded output, and errors that name the line. */

export interface ToolOptions {
  readonly input?: string;
  readonly signal?: AbortSignal;
  /** 30 s unless said otherwise. */
  readonly timeoutMs?: number;
  /** Exit codes that are answers and not failures; 0 always is one. */
  readonly accept?: readonly number[];
}

export interface ToolResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

export interface KernelTools {
  run(file: string, args: readonly string[], options?: ToolOptions): Promise<ToolResult>;
  /** Is there such a program, and does it start? */
  has(file: string): Promise<boolean>;
  /** A file of the kernel (/proc) as the tools see it, without its last newline; undefined where it is not. */
  read(file: string): Promise<string | undefined>;
}

/** Runs of one tool with one input each, the next of which is always begun already. */
export interface Standby {
  /** The tool never gets the end of an input of which a piece could not be made: it is ended. */
  run(input: ToolInput): Promise<ToolResult>;
  /** A run is near: begins what will wait for its input, unless it waits already. */
  prepare(): void;
  /** What waits ends without having done anything. */
  close(): void;
}

export interface StandbyTools {
  /**
   * Starts the tool before it is needed: it waits on its standard input, so that neither the fork of our large process nor the tool's own start is
   * between a change and the kernel. Each run has a process of its own, whose exit code is the answer.
   */
  standby(file: string, args: readonly string[], options?: Pick<ToolOptions, "timeoutMs">): Standby;
}

/** A tool that tells what happens for as long as it is let. */
export interface Followed {
  close(): void;
}

export interface Told {
  readonly onLine: (line: string) => void;
  readonly onEnd: (why: string) => void;
}

export interface FollowTools {
  /** `onEnd`: it ended by itself, or could not start. Not called after `close`, and no line is either. */
  follow(file: string, args: readonly string[], told: Told): Followed;
}

/** All that tools can be asked for. */
export type HostTools = KernelTools & StandbyTools & FollowTools;

const MAX_OUTPUT = 128 * 1024 * 1024; // iptables-save of 100,000 services is 40 MB

/** After a run, before the next is begun: what else has to be done for the same change comes first. */
const PREPARE_AFTER_MS = 30;

/** `enter` stands before every command line: a way into another network namespace, for tests. */
export function openKernelTools({ enter = [] }: { readonly enter?: readonly string[] } = {}): HostTools {
  const run = async (file: string, args: readonly string[], options: ToolOptions = {}): Promise<ToolResult> => {
    const [program = file, ...rest] = [...enter, file, ...args];
    const child = execa(program, rest, {
      env: { LC_ALL: "C" },
      reject: false,
      timeout: options.timeoutMs ?? 30_000,
      maxBuffer: MAX_OUTPUT,
      stdin: options.input === undefined ? ("ignore" as const) : ("pipe" as const),
      ...(options.signal && { cancelSignal: options.signal }),
    });
    const written: Buffer[] = [];
    if (options.input !== undefined && child.stdin) void writeLines(child.stdin, options.input, written);
    const ran = await child;
    if (options.signal?.aborted) throw options.signal.reason;
    return conclude({ ran, file, args, written, timedOut: ran.timedOut }, options.accept);
  };

  /** Begun, and waiting for its input. */
  const begin = (file: string, args: readonly string[]) => {
    const [program = file, ...rest] = [...enter, file, ...args];
    const child = execa(program, rest, { env: { LC_ALL: "C" }, reject: false, maxBuffer: MAX_OUTPUT, stdin: "pipe" });
    child.stdin.on("error", () => undefined); // it ended without reading: its exit code and words say why
    return child;
  };

  const standby = (file: string, args: readonly string[], { timeoutMs = 30_000 }: Pick<ToolOptions, "timeoutMs"> = {}): Standby => {
    let waiting: ReturnType<typeof begin> | undefined;
    let preparing: NodeJS.Timeout | undefined;
    let closed = false;
    const prepare = (): void => {
      if (closed || waiting) return;
      const child = begin(file, args);
      waiting = child;
      // Somebody ended it, or it could not start: the next run begins its own and learns why.
      void child.then(() => (waiting = waiting === child ? undefined : waiting));
    };
    return {
      prepare,
      run: async (input) => {
        clearTimeout(preparing);
        const child = waiting ?? begin(file, args);
        waiting = undefined;
        let timedOut = false;
        const timer = setTimeout(() => {
          timedOut = true;
          child.kill("SIGKILL");
        }, timeoutMs);
        const written: Buffer[] = [];
        const feeding = feed(child, input, written);
        const ran = await child;
        clearTimeout(timer);
        preparing = setTimeout(prepare, PREPARE_AFTER_MS).unref();
        await feeding;
        return conclude({ ran, file, args, written, timedOut });
      },
      close: () => {
        closed = true;
        clearTimeout(preparing);
        waiting?.stdin.end();
        waiting = undefined;
      },
    };
  };

  const follow: FollowTools["follow"] = (file, args, { onLine, onEnd }) => {
    const [program = file, ...rest] = [...enter, file, ...args];
    const child = execa(program, rest, { env: { LC_ALL: "C" }, reject: false, buffer: false, stdin: "ignore", stderr: "pipe" });
    let closed = false;
    const lines = createInterface({ input: child.stdout });
    lines.on("line", (line) => closed || onLine(line));
    createInterface({ input: child.stderr }).on("line", (line) => closed || onLine(line));
    void child.then(({ exitCode, signal, code }) => {
      if (!closed) onEnd(`${[file, ...args].join(" ")} ended with ${code ?? exitCode ?? signal ?? "nothing said"}`);
    });
    return {
      close: () => {
        closed = true;
        child.kill("SIGKILL"); // it holds nothing
      },
    };
  };

  /** In our own network namespace it takes no process. */
  const read: KernelTools["read"] = async (file) => {
    if (enter.length === 0)
      return readFile(file, "utf8").then(
        (text) => text.trimEnd(),
        () => undefined,
      );
    const { exitCode, stdout } = await run("cat", [file], { accept: [1] });
    return exitCode === 0 ? stdout : undefined;
  };

  return {
    run,
    read,
    standby,
    follow,
    has: (file) =>
      run(file, ["--version"]).then(
        () => true,
        () => false,
      ),
  };
}

interface Fed {
  readonly stdin: Writable;
  kill(signal: "SIGKILL"): boolean;
}

/** Rejects with what went wrong while the input was made. */
function feed(child: Fed, input: ToolInput, written: Buffer[]): Promise<void> {
  const feeding = writeLines(child.stdin, input, written).catch((cause: unknown) => {
    child.kill("SIGKILL"); // with the end of its input it would take what it has for all
    throw cause;
  });
  feeding.catch(() => undefined); // asked for when the tool has ended
  return feeding;
}

interface Ended {
  readonly file: string;
  readonly args: readonly string[];
  readonly ran: {
    readonly exitCode?: number | undefined;
    readonly stdout: string;
    readonly stderr: string;
    readonly code?: string | undefined;
  };
  readonly timedOut: boolean;
  readonly written: readonly Buffer[];
}

function conclude(ended: Ended, accept: readonly number[] = []): ToolResult {
  const { stdout, stderr, exitCode } = ended.ran;
  if (exitCode !== undefined && (exitCode === 0 || accept.includes(exitCode))) return { stdout, stderr, exitCode };
  throw failure(ended);
}

function failure(failed: Ended): AppError {
  const { file, args, timedOut, written } = failed;
  const { exitCode, stderr, code } = failed.ran;
  if (code === "ENOENT" || exitCode === 127)
    return new AppError("KernelRejected", `${file} is not installed, or not in the PATH`, { hint: `install it: ${packageOf(file)}` });
  const said = stderr
    .split("\n")
    .filter((line) => line.trim() !== "" && !/^(Try `|# Warning)/.test(line))
    .slice(0, 3)
    .join("; ");
  const what = timedOut ? "did not end in time" : (said || `ended with ${exitCode ?? code ?? "a signal"}`).slice(0, 500);
  const line = offendingLine(stderr, written);
  return new AppError("KernelRejected", `${[file, ...args].join(" ")}: ${what}${line === undefined ? "" : ` [${line}]`}`, {
    hint: HINTS.find(([pattern]) => pattern.test(stderr))?.[1],
  });
}

const HINTS: readonly (readonly [RegExp, string])[] = [
  [/permission denied|operation not permitted|must be root/i, "the agent must run as root, or with CAP_NET_ADMIN"],
  [/xtables lock/i, "another program holds the lock of iptables; it is tried again"],
  [
    /couldn't load (match|target)|no chain\/target\/match/i,
    "the kernel or iptables lacks this match or target: see agent/dataplane/README.md",
  ],
];

function packageOf(file: string): string {
  return `apt-get install ${/^ip6?tables/.test(file) ? "iptables" : file}`;
}

/** `line 7 failed` and `Error occurred at line: 7` are how iptables-restore says where. */
function offendingLine(stderr: string, written: readonly Buffer[]): string | undefined {
  const number = /\bline:? (\d+)/.exec(stderr)?.[1];
  if (number === undefined || written.length === 0) return undefined;
  return Buffer.concat(written).toString().split("\n")[Number(number) - 1]?.slice(0, 300);
}
