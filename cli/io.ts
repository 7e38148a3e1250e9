import { clean } from "./output/clean.ts";

/** What a command may touch of its process; main.ts makes the real one. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
  /** Aborts on Ctrl-C, SIGTERM and SIGHUP. */
  readonly stop: AbortSignal;
  /** Aborts when nobody reads stdout any more (`| head`): for those who print without end. */
  readonly unread: AbortSignal;
  out(text: string): void;
  err(text: string): void;
  /** All of stdin; refuses more than `maxBytes`. */
  readStdin(maxBytes: number): Promise<string>;
  /** From now on signals are the command's own affair (`run` passes them to its child). */
  releaseSignals(): void;
}

/** Options that every command takes. */
export interface GlobalOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
}

/** One call of a command: its words, its options, its process. Answers the exit code. */
export interface Invocation<Options> {
  readonly args: readonly string[];
  readonly options: Options & GlobalOptions;
  readonly io: Io;
}

export type Command<Options> = (invocation: Invocation<Options>) => Promise<number>;

/** One line to stderr; what it quotes of objects or of the server is shown, never obeyed. */
export function say(io: Io, line: string): void {
  io.err(`${clean(line)}\n`);
}

/** Shows `text` on a terminal's stderr if the work takes over a second, and wipes it when the work is over. */
export async function withProgress<T>(io: Io, text: () => string, work: () => Promise<T>): Promise<T> {
  if (!io.stderrIsTerminal) return work();
  const progress = { shown: false };
  const timer = setInterval(() => {
    progress.shown = true;
    io.err(`\r\x1b[K${clean(text())}`);
  }, 1000);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    if (progress.shown) io.err("\r\x1b[K");
  }
}
