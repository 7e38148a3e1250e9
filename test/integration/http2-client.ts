import { connect, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { createInterface } from "node:readline";
import { onTestFinished } from "vitest";
import type { ApiServer } from "./api-server.ts";

/** A client of HTTP/2, as Go's are. Ends with the test. */
export function openSession({ url, ca }: Pick<ApiServer, "url" | "ca">): ClientHttp2Session {
  const session = connect(url, { ca });
  session.on("error", () => undefined);
  // As Go's: far above that of a stream, so that one which nobody reads does not block the others on the client's own side.
  session.once("connect", () => session.setLocalWindowSize(1 << 30));
  onTestFinished(() => session.destroy());
  return session;
}

export interface H2Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
}

export interface H2Call {
  readonly method?: string;
  readonly path: string;
  readonly bearer: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

export function openStream(session: ClientHttp2Session, { method = "GET", path, bearer, headers, body }: H2Call): ClientHttp2Stream {
  const stream = session.request(
    { ":method": method, ":path": path, authorization: `Bearer ${bearer}`, ...headers },
    { endStream: body === undefined },
  );
  if (body !== undefined) stream.end(body);
  return stream;
}

export async function ask(session: ClientHttp2Session, call: H2Call): Promise<H2Answer> {
  const stream = openStream(session, call);
  return new Promise((resolve, reject) => {
    let status = 0;
    let headers: H2Answer["headers"] = {};
    const chunks: Buffer[] = [];
    stream.on("response", (received) => {
      headers = received;
      status = Number(received[":status"]);
    });
    stream.on("data", (chunk: Buffer) => void chunks.push(chunk));
    stream.on("end", () => resolve({ status, headers, text: Buffer.concat(chunks).toString("utf8") }));
    stream.on("error", reject);
  });
}

export interface H2Watch {
  readonly stream: ClientHttp2Stream;
  readonly lines: readonly string[];
  /** The error code of the stream (0: it ended cleanly). */
  readonly ended: Promise<number>;
  cancel(): void;
}

export function watchOver(session: ClientHttp2Session, call: H2Call): H2Watch {
  const stream = openStream(session, call);
  const lines: string[] = [];
  stream.on("error", () => undefined);
  createInterface({ input: stream })
    .on("error", () => undefined)
    .on("line", (line) => void lines.push(line));
  return {
    stream,
    lines,
    ended: new Promise((resolve) => stream.once("close", () => resolve(stream.rstCode))),
    cancel: () => stream.close(8), // NGHTTP2_CANCEL, what Go sends
  };
}
