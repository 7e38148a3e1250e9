import { backoffMs, pause } from "#proto/backoff.ts";
import { describeError, isAppError, type ErrorCode } from "#proto/error.ts";
import type { Client } from "#proto/client.ts";
import type { DataplaneLog } from "./dataplane/log.ts";

/** News of this host, for people. A host may tell of its own Node; which Service it is about, the message says. */
export interface NodeNews {
  /** One CamelCase word. */
  readonly reason: string;
  readonly message: string;
  /** News of one reason about the same are told once in a while only. */
  readonly about: string;
  /** How long it is not told again: longer for what may fail for hours. */
  readonly quietMs?: number;
}

export interface NodeEvents {
  /** Returns at once; a server that is down hears of it when it is back. */
  tell(news: NodeNews): void;
}

export interface NodeEventsDeps {
  readonly client: Pick<Client, "create">;
  readonly node: string;
  readonly log: Pick<DataplaneLog, "info">;
}

const QUIET_MS = 10_000;
const WITHIN_MS = 5_000;
const RETRY = { baseMs: 1_000, maxMs: 30_000 };
/** So many things go wrong at a time at most, as far as Events tell. */
const MAX_KNOWN = 64;

/** The server is away, or has too much to do: it may take the same later. */
const RETRIABLE: ReadonlySet<ErrorCode> = new Set(["ServiceUnavailable", "TooManyRequests", "Timeout", "InternalError"]);

export function createNodeEvents({ client, node, log }: NodeEventsDeps, signal: AbortSignal): NodeEvents {
  const quietUntil = new Map<string, number>();
  let made = 0;
  let waiting = 0;
  async function send({ reason, message }: NodeNews): Promise<void> {
    const at = new Date().toISOString();
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: `${node}.${Date.now().toString(16)}${(made++ % 256).toString(16).padStart(2, "0")}`, namespace: "default" },
      involvedObject: { kind: "Node", name: node },
      reason,
      message: message.slice(0, 1024),
      type: "Warning" as const,
      source: { component: "fairlead-agent", host: node },
      firstTimestamp: at,
      lastTimestamp: at,
      count: 1,
    } as const;
    for (let failures = 1; !isOver(signal); failures++) {
      try {
        await client.create("Event", event, { signal: AbortSignal.any([signal, AbortSignal.timeout(WITHIN_MS)]) });
        return;
      } catch (error) {
        // An answer that was lost on its way back: the server has it.
        if (isAppError(error, "AlreadyExists") || isOver(signal)) return;
        if (failures === 1) log.info({ reason, error: describeError(error) }, "the server was not told yet");
        if (isAppError(error) && !RETRIABLE.has(error.code)) return;
        await pause(backoffMs(failures, Math.random(), RETRY), signal);
      }
    }
  }
  return {
    tell(news) {
      const now = performance.now();
      for (const [key, until] of quietUntil) if (now >= until) quietUntil.delete(key);
      const key = `${news.reason} ${news.about}`;
      if (signal.aborted || quietUntil.has(key) || Math.max(quietUntil.size, waiting) >= MAX_KNOWN) return;
      quietUntil.set(key, now + (news.quietMs ?? QUIET_MS));
      waiting++;
      void send(news).finally(() => waiting--);
    },
  };
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
