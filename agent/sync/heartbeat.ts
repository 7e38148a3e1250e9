import { Heartbeat, HeartbeatReply } from "#proto/agents.ts";
import { backoffMs, pause } from "#proto/backoff.ts";
import type { Transport } from "#proto/client-http.ts";
import { paths } from "#proto/paths.ts";
import { isRefused, type Contact } from "./contact.ts";

export interface HeartbeatDeps {
  readonly transport: Pick<Transport, "send">;
  readonly nodeName: string;
  readonly intervalMs: () => number;
  readonly epoch: () => string | undefined;
  readonly applied: () => number | undefined;
  readonly problems: () => readonly string[];
  readonly contact: Contact;
}

const MAX_PROBLEMS = 16;
const MAX_PROBLEM_LENGTH = 512;
/** The lease is short: a server that comes back must hear of everybody soon, and a refused connection costs little. */
const RETRY = { baseMs: 250, maxMs: 2000 };
const REFUSED_RETRY_MS = 10_000;

/** Renews this node's lease. By itself: nothing that the other loops do delays it. */
export async function heartbeatLoop(deps: HeartbeatDeps, signal: AbortSignal): Promise<void> {
  const { contact, intervalMs } = deps;
  const stopped = (): boolean => signal.aborted;
  for (let failures = 0; !signal.aborted;) {
    try {
      const nextInMs = await beat(deps, signal);
      failures = 0;
      contact.heard("heartbeat");
      await pause(Math.min(nextInMs, 60_000) * (0.9 + 0.1 * Math.random()), signal);
    } catch (error) {
      if (stopped()) return;
      contact.failed("heartbeat", error);
      const retry = isRefused(error) ? REFUSED_RETRY_MS : backoffMs(++failures, Math.random(), RETRY);
      await pause(Math.max(retry, Math.min(intervalMs(), RETRY.baseMs)), signal);
    }
  }
}

async function beat(
  { transport, nodeName, epoch, applied, problems, contact, intervalMs }: HeartbeatDeps,
  signal: AbortSignal,
): Promise<number> {
  const stateAgeMs = contact.stateAgeMs();
  const history = epoch();
  const body: Heartbeat = {
    // Without a history the number says nothing: what is held then may lack something.
    ...(history !== undefined && { applied: applied(), epoch: history }),
    ...(stateAgeMs > 0 && { stateAgeMs }),
    problems: problems().slice(0, MAX_PROBLEMS).map(shortened),
  };
  const limitMs = Math.min(Math.max(2 * intervalMs(), 1000), 5000);
  const answer = await transport.send({ method: "POST", path: paths.heartbeat(nodeName), body, signal, timeoutMs: limitMs });
  return HeartbeatReply.parse(answer.body).nextInMs;
}

function shortened(text: string): string {
  return text.length <= MAX_PROBLEM_LENGTH ? text : `${text.slice(0, MAX_PROBLEM_LENGTH - 1)}…`;
}
