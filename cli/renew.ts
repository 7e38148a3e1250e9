import { backoffMs, pause } from "#proto/backoff.ts";
import { orUndefined } from "#proto/client.ts";
import { describeError, errorCodes, isAppError, type AppError } from "#proto/error.ts";
import { durationMs } from "#proto/meta.ts";
import { paths } from "#proto/paths.ts";
import type { Applied } from "./apply/apply-object.ts";
import { say, type Io } from "./io.ts";
import type { Session } from "./session.ts";

/** Keeps a registration alive. */

export interface Registration {
  readonly name: string;
  /** Registers it, or makes it what it should be. */
  readonly put: (signal: AbortSignal) => Promise<Applied>;
}

export interface Renewal extends Registration {
  readonly ttl: string;
  /** Whether the server knows it already. */
  readonly isRegistered: boolean;
}

type Peer = Pick<Session, "client" | "namespace">;

const LEAVE_MS = 3000;

/**
 * Until the signal aborts; then it takes it out of service. Three chances to renew in each TTL. A workload that was lost meanwhile (the server was away
 * for longer) is registered again. Throws what trying again cannot mend.
 */
export async function renewUntil(peer: Peer, io: Io, { name, ttl, put, isRegistered }: Renewal, signal: AbortSignal): Promise<void> {
  const everyMs = durationMs(ttl) / 3;
  const stopped = (): boolean => signal.aborted;
  for (let failures = isRegistered ? 0 : 1; ;) {
    await pause(failures === 0 ? everyMs : Math.min(everyMs, backoffMs(failures, Math.random())), signal);
    if (stopped()) break;
    try {
      await renewOnce(peer, io, { name, put }, signal);
      if (failures > 0) say(io, `renewed workload/${name} again`);
      failures = 0;
    } catch (error) {
      if (stopped()) break;
      if (isAppError(error) && isFinal(error)) throw error;
      if (failures++ === 0) say(io, `cannot renew workload/${name}, trying on: ${describeError(error)}`);
    }
  }
  await orUndefined(peer.client.delete("Workload", name, { namespace: peer.namespace, signal: AbortSignal.timeout(LEAVE_MS) }));
  say(io, `workload "${name}" deregistered`);
}

export async function renewOnce({ client, namespace }: Peer, io: Io, { name, put }: Registration, signal: AbortSignal): Promise<void> {
  try {
    await client.transport.send({ method: "POST", path: paths.renew(namespace, name), body: {}, signal, timeoutMs: 10_000 });
  } catch (error) {
    if (!isAppError(error, "NotFound")) throw error;
    await put(signal);
    say(io, `workload/${name} was not known (any more); registered it`);
  }
}

/** What trying again cannot mend: no permission, a bad request. */
export function isFinal({ code }: AppError): boolean {
  const { status } = errorCodes[code];
  return code === "Usage" || (status >= 400 && status < 500 && code !== "TooManyRequests" && code !== "Conflict");
}
