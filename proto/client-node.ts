import type { Agent, IncomingMessage, RequestOptions } from "node:http";

// Node's own HTTP/1.1. An import of node:http would load the fetch and the web sockets that it also exports: 11 MB in each agent (docs/adr/0330).
const { Agent: HttpAgent, request: requestHttp } = process.getBuiltinModule("node:http");
const { Agent: HttpsAgent, request: requestHttps } = process.getBuiltinModule("node:https");

const CONNECTIONS = 64;
const CONNECT_MS = 5000;
/** Less than servers wait for the next request, who besides say how long they do. */
const IDLE_MS = 60_000;
const LATE = "ERR_TIMEOUT";

/** Connections to one server, kept for the next question. */
export interface Connections {
  /** The answer's head; its body is to be read to its end, or destroyed. An abort rejects with the signal's reason, and breaks the body off. */
  ask(question: Question): Promise<IncomingMessage>;
  close(): void;
}

export interface Question extends Pick<RequestOptions, "method" | "path"> {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly body?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** So long without an octet = it fails with code ERR_TIMEOUT. */
  readonly timeoutMs: number;
  /** The same while the body comes; 0 = it may be silent for ever. Absent = as before it. */
  readonly bodyTimeoutMs?: number | undefined;
}

export function openConnections(
  to: RequestOptions,
  { tls }: { readonly tls: { readonly ca?: string | undefined } | undefined },
): Connections {
  const options = { keepAlive: true, maxSockets: CONNECTIONS, timeout: IDLE_MS };
  const agent = tls ? new HttpsAgent({ ...options, ...(tls.ca !== undefined && { ca: tls.ca }) }) : new HttpAgent(options);
  return {
    ask: (question) =>
      askOnce(
        { ...to, agent },
        tls ? { question, open: requestHttps, connected: "secureConnect" } : { question, open: requestHttp, connected: "connect" },
      ),
    close: () => agent.destroy(),
  };
}

interface Asked {
  readonly question: Question;
  readonly open: typeof requestHttp;
  readonly connected: "connect" | "secureConnect";
}

function askOnce(to: RequestOptions & { agent: Agent }, { question, open, connected }: Asked): Promise<IncomingMessage> {
  const { body, signal, timeoutMs, bodyTimeoutMs = timeoutMs, headers, ...head } = question;
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) throw signal.reason;
    // Of a DELETE's body Node does not say the length by itself.
    const length = body === undefined ? undefined : { "content-length": Buffer.byteLength(body) };
    const request = open({ ...to, ...head, headers: { ...headers, ...length }, timeout: timeoutMs });
    let response: IncomingMessage | undefined;
    const giveUp = (reason: unknown): void => {
      reject(reason);
      (response ?? request).destroy(reason instanceof Error ? reason : undefined);
    };
    const late = (): void => giveUp(Object.assign(new Error(`nothing came for ${timeoutMs} ms`), { code: LATE }));
    const aborted = (): void => giveUp(signal?.reason);
    signal?.addEventListener("abort", aborted, { once: true });
    request.once("close", () => signal?.removeEventListener("abort", aborted));
    request.on("error", reject).on("timeout", late);
    request.once("socket", (socket) => {
      if (!socket.connecting) return;
      const timer = setTimeout(late, Math.min(timeoutMs, CONNECT_MS));
      const stop = (): void => clearTimeout(timer);
      socket.once(connected, stop).once("close", stop);
    });
    request.once("response", (answer) => {
      response = answer;
      if (bodyTimeoutMs !== timeoutMs) request.setTimeout(bodyTimeoutMs);
      resolve(answer);
    });
    request.end(body);
  });
}
