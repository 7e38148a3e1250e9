import { backoffMs, pause } from "#proto/backoff.ts";
import { orUndefined } from "#proto/client.ts";
import { describeError, errorCodes, isAppError, type AppError } from "#proto/error.ts";
import { durationMs } from "#proto/meta.ts";
import { paths } from "#proto/paths.ts";
import { KEEPER_ANNOTATION } from "#proto/workload.ts";
import type { Applied } from "./apply/apply-object.ts";
import { say, type Io } from "./io.ts";
import type { Session } from "./session.ts";

/** Keeps a registration alive. */

export interface Registration {
  readonly name: string;
  /** Stands in the annotation of KEEPER_ANNOTATION while this registration is the last one of its name. */
  readonly keeper: string;
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
export async function renewUntil(peer: Peer, io: Io, registration: Renewal, signal: AbortSignal): Promise<void> {
  const { name, ttl, isRegistered } = registration;
  const everyMs = durationMs(ttl) / 3;
  const stopped = (): boolean => signal.aborted;
  for (let failures = isRegistered ? 0 : 1; ;) {
    await pause(failures === 0 ? everyMs : Math.min(everyMs, backoffMs(failures, Math.random())), signal);
    if (stopped()) break;
    try {
      await renewOnce(peer, io, registration, signal);
      if (failures > 0) say(io, `renewed workload/${name} again`);
      failures = 0;
    } catch (error) {
      if (stopped()) break;
      if (isAppError(error) && isFinal(error)) throw error;
      if (failures++ === 0) say(io, `cannot renew workload/${name}, trying on: ${describeError(error)}`);
    }
  }
  await deregister(peer, io, registration);
}

/** A program that was started anew elsewhere, before this one ended, has the name now: its registration stays. */
async function deregister({ client, namespace }: Peer, io: Io, { name, keeper }: Registration): Promise<void> {
  const signal = AbortSignal.timeout(LEAVE_MS);
  for (;;) {
    const standing = await orUndefined(client.get("Workload", name, { namespace, signal }));
    if (standing && standing.metadata.annotations?.[KEEPER_ANNOTATION] !== keeper) {
      say(io, `workload "${name}" stays: somebody else has registered it since`);
      return;
    }
    try {
      if (standing)
        await orUndefined(client.delete("Workload", name, { namespace, resourceVersion: standing.metadata.resourceVersion, signal }));
      say(io, `workload "${name}" deregistered`);
      return;
    } catch (error) {
      if (!isAppError(error, "Conflict")) throw error; // its status was written in between, or it was registered by another
    }
  }
}

export async function renewOnce(
  { client, namespace }: Peer,
  io: Io,
  { name, put }: Pick<Registration, "name" | "put">,
  signal: AbortSignal,
): Promise<void> {
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
