import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { urlToHttpOptions } from "node:url";
import { openConnections } from "./client-node.ts";
import { AppError, describeError, fromStatus } from "./error.ts";

/** Where a server is and how it is known: `ca` (PEM) is the only authority trusted, so a certificate of anybody else is refused. */
export interface Connection {
  /** `https://host:7443`; plain http only to loopback. */
  readonly server: string;
  readonly ca?: string | undefined;
  readonly token?: string | undefined;
}

export interface Call {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  readonly body?: unknown;
  readonly contentType?: string | undefined;
  readonly accept?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** No answer for so long = Timeout. Default 30 s. */
  readonly timeoutMs?: number | undefined;
}

export interface Answer {
  readonly status: number;
  readonly body: unknown;
  /** Texts of the Warning headers. */
  readonly warnings: readonly string[];
}

/** The transport: keep-alive connections to one server. Errors are AppError: the server's own, or ServiceUnavailable when it cannot be reached. */
export interface Transport {
  send(call: Call): Promise<Answer>;
  /** The body as it comes, for watches. */
  stream(call: Call): Promise<Readable>;
  close(): Promise<void>;
}

const MAX_ERROR_BYTES = 1 << 20;

export function openTransport({ server, ca, token }: Connection): Transport {
  const url = checkedUrl(server);
  const { origin } = url;
  const { hostname, port } = urlToHttpOptions(url);
  const connections = openConnections({ hostname, port }, { tls: url.protocol === "https:" ? { ca } : undefined });

  async function dispatch(call: Call): Promise<IncomingMessage> {
    const { method = "GET", query, body, signal, timeoutMs = 30_000 } = call;
    const headers: Record<string, string> = { accept: call.accept ?? "application/json" };
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    if (body !== undefined) headers["content-type"] = call.contentType ?? "application/json";
    try {
      return await connections.ask({
        path: `${call.path}${queryText(query)}`,
        method,
        headers,
        body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
        signal,
        timeoutMs,
      });
    } catch (cause) {
      throw signal?.aborted ? cause : unreachable(origin, cause);
    }
  }

  async function send(call: Call): Promise<Answer> {
    const response = await dispatch(call);
    let text: string;
    try {
      text = await textOf(response);
    } catch (cause) {
      throw call.signal?.aborted ? call.signal.reason : unreachable(origin, cause);
    }
    const { statusCode: status = 0, headers } = response;
    const body = parseBody(text, headers["content-type"]);
    if (status >= 400) throw fromStatus(status, body);
    return { status, body, warnings: warningsOf(headers.warning) };
  }

  async function stream(call: Call): Promise<Readable> {
    const response = await dispatch(call);
    const { statusCode: status = 0, headers } = response;
    if (status < 400) return response;
    throw fromStatus(status, parseBody(await textOf(response, MAX_ERROR_BYTES), headers["content-type"]));
  }

  return { send, stream, close: async () => connections.close() };
}

/** Of a longer one the beginning; the rest is read, so that the connection serves the next. */
async function textOf(response: IncomingMessage, most = Infinity): Promise<string> {
  response.setEncoding("utf8");
  let text = "";
  for await (const chunk of response) if (text.length < most) text += String(chunk);
  return text;
}

/** Credentials never go over plain http, except to this machine itself. */
function checkedUrl(server: string): URL {
  const url = URL.parse(server);
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:"))
    throw new AppError("Usage", `"${server}" is not the address of a server`, { hint: "write it like https://10.0.0.5:7443" });
  const loopback = url.hostname === "localhost" || url.hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(url.hostname);
  if (url.protocol === "http:" && !loopback)
    throw new AppError("Usage", `${server} would send credentials unencrypted`, { hint: "use https://; plain http is for loopback only" });
  return url;
}

function queryText(query: Call["query"]): string {
  const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== undefined);
  return pairs.length === 0
    ? ""
    : `?${new URLSearchParams(pairs.map(([key, value]): [string, string] => [key, String(value)])).toString()}`;
}

function parseBody(text: string, contentType: string | undefined): unknown {
  if (contentType?.includes("json") !== true) return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Of several headers Node makes one. */
function warningsOf(header = ""): string[] {
  return Array.from(header.matchAll(/299 \S+ "((?:[^"\\]|\\.)*)"/g), ([, text = ""]) => text.replaceAll(/\\(.)/g, "$1"));
}

function unreachable(origin: string, cause: unknown): AppError {
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (code.includes("TIMEOUT"))
    return new AppError("Timeout", `${origin} did not answer in time`, {
      cause,
      hint: "is the server overloaded, or a firewall in between?",
    });
  if (/CERT|SIGNATURE|SELF_SIGNED|ALTNAME/.test(code))
    return new AppError("ServiceUnavailable", `${origin} showed a certificate that is not the pinned server's (${code})`, {
      cause,
      hint: "check the address; if the server was set up anew, join this host again with a new token",
    });
  return new AppError("ServiceUnavailable", `cannot reach ${origin}: ${describeError(cause)}`, {
    cause,
    hint: "is `fairlead server` running there, and its port open?",
  });
}
