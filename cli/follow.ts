import { describeError, isAppError } from "#proto/error.ts";
import { startChild, startFault, tellStartFault, type PassedOn } from "./child.ts";
import { say, type Io } from "./io.ts";
import { waitUntilLive } from "./receipts.ts";
import { isFinal, renewUntil, type Registration } from "./renew.ts";
import type { Session } from "./session.ts";

/** A workload that is registered for as long as its program runs. */

export interface Followed extends Registration {
  readonly ttl: string;
  /** The program and its arguments. */
  readonly command: readonly string[];
}

/** The program shall not wait for a server that is away: it is registered later then. */
const REGISTER_MS = 3000;
/** So long a signal that ends the program waits at most until the hosts lead nobody to it any more. */
const LEAVE_MS = 2000;
const ENDING: ReadonlySet<PassedOn> = new Set(["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"]);

/** Answers the program's exit code. */
export async function follow(session: Session, io: Io, followed: Followed): Promise<number> {
  const { name, command } = followed;
  const fault = await startFault(command);
  if (fault !== undefined) {
    tellStartFault(command[0] ?? "", fault);
    return fault; // before anybody is led to it
  }
  const isRegistered = await registerSoon(io, followed);
  if (io.stop.aborted) return 130;
  io.releaseSignals();
  const over = new AbortController();
  const renewing = renewUntil(session, io, { ...followed, isRegistered }, over.signal).catch((error: unknown) => {
    say(io, `workload/${name} is not registered any more: ${describeError(error)}`); // the program runs on
  });
  let leaving: Promise<void> | undefined;
  const leave = async (): Promise<void> => {
    over.abort();
    await renewing;
    await untilNobodyComes(session, io, name);
  };
  const child = startChild(command, {
    env: process.env,
    before: (signal) => (ENDING.has(signal) && !over.signal.aborted ? (leaving = leave()) : undefined),
  });
  try {
    return await child.exitCode;
  } finally {
    over.abort();
    await renewing;
    await leaving; // the signal may have ended the program itself, as a terminal's or systemd's to the whole group does
  }
}

/** Throws what trying again cannot mend: then the program is not started. */
async function registerSoon(io: Io, { name, put }: Pick<Registration, "name" | "put">): Promise<boolean> {
  try {
    const { outcome } = await put(AbortSignal.any([io.stop, AbortSignal.timeout(REGISTER_MS)]));
    say(io, `workload/${name} ${outcome === "created" ? "registered" : outcome}`);
    return true;
  } catch (error) {
    if (isAppError(error) && isFinal(error)) throw error;
    say(io, `cannot register workload/${name} yet, trying on: ${describeError(error)}`);
    return false;
  }
}

/** All hosts' kernels have heard of it, or nobody can say in time: then it ends all the same. */
async function untilNobodyComes({ client, namespace }: Session, io: Io, name: string): Promise<void> {
  try {
    const signal = AbortSignal.timeout(LEAVE_MS);
    const { resourceVersion } = await client.list("Workload", { namespace, fieldSelector: `metadata.name=${name}`, signal });
    await waitUntilLive(client, { ...io, stderrIsTerminal: false }, { revision: Number(resourceVersion), timeoutMs: LEAVE_MS });
  } catch (error) {
    say(io, `not all hosts said that they lead nobody here any more: ${describeError(error)}`);
  }
}
