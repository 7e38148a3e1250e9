import { AppError } from "#proto/error.ts";
import type { Io } from "./io.ts";

/** How long a command may take to end in order after a signal. */
const GRACE_MS = 5000;
const SIGNAL_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export interface ProcessIo {
  readonly io: Io;
  /** The exit code that a signal asks for; undefined if none came. */
  readonly stopCode: () => number | undefined;
  /** Nothing is left to do: lets the process end when all output is written. */
  readonly end: () => void;
}

/** The real stdin, stdout, stderr and signals. */
export function createProcessIo(real: NodeJS.Process): ProcessIo {
  const stop = new AbortController();
  const unread = new AbortController();
  let code: number | undefined;
  const listeners = Object.entries(SIGNAL_CODES).map(([signal, exitCode]) => {
    const listener = (): void => {
      if (code !== undefined) real.exit(code); // asked twice: at once
      code = exitCode;
      stop.abort();
      setTimeout(() => real.exit(exitCode), GRACE_MS).unref();
    };
    real.on(signal, listener);
    return { signal, listener };
  });
  const releaseSignals = (): void => {
    for (const { signal, listener } of listeners) real.off(signal, listener);
  };

  // Whoever read our output has enough (`| head`): that is no error, and a command that changes things goes on with them.
  for (const stream of [real.stdout, real.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      if (stream === real.stdout) unread.abort();
    });

  const io: Io = {
    env: real.env,
    stdoutIsTerminal: real.stdout.isTTY,
    stderrIsTerminal: real.stderr.isTTY,
    stop: stop.signal,
    unread: unread.signal,
    out: (text) => void real.stdout.write(text),
    err: (text) => void real.stderr.write(text),
    readStdin: (maxBytes) => readAll(real.stdin, maxBytes),
    releaseSignals,
  };
  return { io, stopCode: () => code, end: releaseSignals };
}

async function readAll(stream: NodeJS.ReadableStream, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk);
    size += bytes.length;
    if (size > maxBytes) throw new AppError("RequestEntityTooLarge", `stdin is larger than the ${maxBytes} bytes that may come at once`);
    chunks.push(bytes);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch (cause) {
    throw new AppError("Invalid", "stdin is not UTF-8 text", { cause });
  }
}
