import { backoffMs, pause } from "#proto/backoff.ts";
import { orUndefined } from "#proto/client.ts";
import { AppError, describeError, errorCodes, isAppError } from "#proto/error.ts";
import { durationMs } from "#proto/meta.ts";
import { paths } from "#proto/paths.ts";
import { applyObject, type Applied } from "../apply/apply-object.ts";
import type { JsonObject } from "../apply/three-way.ts";
import { waitUntilGone } from "../gone.ts";
import { say, type GlobalOptions, type Invocation, type Io } from "../io.ts";
import { checkOption, durationOption, labelOptions, portOption, wholeOption } from "../options.ts";
import { lastRevision, waitUntilLive } from "../receipts.ts";
import { openSession, thisNode, warnTo, type Session } from "../session.ts";

export interface RegisterOptions {
  readonly label: readonly string[];
  readonly port: readonly string[];
  readonly check: readonly string[];
  readonly checkInterval?: string;
  readonly checkTimeout?: string;
  readonly checkRise?: string;
  readonly checkFall?: string;
  readonly address?: string;
  readonly node?: string;
  readonly weight?: string;
  readonly ttl?: string;
  readonly renew?: true;
  readonly wait?: true;
  readonly timeout: string;
}

export async function register({ args, options, io }: Invocation<RegisterOptions>): Promise<number> {
  const [name = "", ...more] = args;
  if (more.length > 0) throw new AppError("Usage", `one name at a time: what is "${more.join(" ")}"?`);
  const timeoutMs = durationOption("--timeout", options.timeout);
  const spec = specOf(options);
  if (options.renew && options.ttl === undefined) throw new AppError("Usage", "--renew needs a --ttl", { hint: "--ttl 30s, for example" });
  if (options.port.length === 0)
    say(
      io,
      `Warning: no --port: services reach ${name} only by a number as their targetPort, or headless; give --port http=8080 to be found by name`,
    );
  await using session = await openSession(options, io);
  const node = options.node ?? (await thisNode(session, io));
  const labels = labelOptions("--label", options.label);
  const value: JsonObject = {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name, ...(Object.keys(labels).length > 0 && { labels }) },
    spec: { node, ...spec },
  };
  const put = async (): Promise<Applied> => putWorkload(session, io, { name, value, timeoutMs });
  const { outcome, object } = await put();
  io.out(`workload/${name} ${outcome === "created" ? "registered" : outcome}\n`);
  // Nothing was written that would have renewed it.
  if (outcome === "unchanged" && options.ttl !== undefined) await renewOnce(session, io, { name, put });
  if (options.wait) await waitUntilLive(session.client, io, { revision: lastRevision([object]), timeoutMs });
  if (options.renew && options.ttl !== undefined) await renewUntilStopped(session, io, { name, ttl: options.ttl, put });
  return 0;
}

/** The part of the manifest that the options say; what only the server can judge is left to it. Throws Usage. */
export function specOf(options: Omit<RegisterOptions, keyof GlobalOptions>): JsonObject {
  const ports = options.port.map(portOption);
  const timing = {
    ...(options.checkInterval !== undefined && { interval: checkedDuration("--check-interval", options.checkInterval) }),
    ...(options.checkTimeout !== undefined && { timeout: checkedDuration("--check-timeout", options.checkTimeout) }),
    ...(options.checkRise !== undefined && { rise: wholeOption("--check-rise", options.checkRise, { min: 1, max: 100 }) }),
    ...(options.checkFall !== undefined && { fall: wholeOption("--check-fall", options.checkFall, { min: 1, max: 100 }) }),
  };
  if (options.check.length === 0 && Object.keys(timing).length > 0)
    throw new AppError("Usage", "--check-interval, -timeout, -rise and -fall need a --check", {
      hint: "--check http:/healthz, for example",
    });
  return {
    ...(ports.length > 0 && { ports: ports.map((port) => ({ ...port })) }),
    ...(options.check.length > 0 && { checks: options.check.map((text) => ({ ...checkOption(text, ports), ...timing })) }),
    ...(options.address !== undefined && { address: options.address }),
    ...(options.weight !== undefined && { weight: wholeOption("--weight", options.weight, { min: 0, max: 65_535 }) }),
    ...(options.ttl !== undefined && { ttl: checkedDuration("--ttl", options.ttl) }),
  };
}

function checkedDuration(flag: string, text: string): string {
  durationOption(flag, text);
  return text;
}

interface Put {
  readonly name: string;
  readonly value: JsonObject;
  readonly timeoutMs: number;
}

/** One that is just being removed cannot be changed back: it is ended at once, and made anew. */
async function putWorkload(session: Session, io: Io, { name, value, timeoutMs }: Put): Promise<Applied> {
  const { client, namespace } = session;
  const at = { namespace, signal: io.stop };
  const standing = await orUndefined(client.get("Workload", name, at));
  if (standing?.metadata.deletionTimestamp !== undefined) {
    await orUndefined(client.delete("Workload", name, { ...at, gracePeriodSeconds: 0 }));
    await waitUntilGone(session, io, [{ kind: "Workload", name, namespace, uid: standing.metadata.uid }], timeoutMs);
  }
  return applyObject(session, { kind: "Workload", name, namespace, value }, { onWarning: warnTo(io), signal: io.stop });
}

/** Three chances to renew in each TTL. A workload that was lost meanwhile (the server was away for longer) is registered again. */
async function renewUntilStopped(
  { client, namespace }: Session,
  io: Io,
  { name, ttl, put }: { readonly name: string; readonly ttl: string; readonly put: () => Promise<Applied> },
): Promise<void> {
  const everyMs = durationMs(ttl) / 3;
  say(io, `renewing workload/${name} every ${Math.round(everyMs)} ms; a signal takes it out of service`);
  for (let failures = 0; ;) {
    await pause(failures === 0 ? everyMs : Math.min(everyMs, backoffMs(failures, Math.random())), io.stop);
    if (io.stop.aborted) break;
    try {
      await renewOnce({ client, namespace }, io, { name, put });
      if (failures > 0) say(io, `renewed workload/${name} again`);
      failures = 0;
    } catch (error) {
      if (isStop(io)) break;
      if (isAppError(error) && isFinal(error)) throw error;
      if (failures++ === 0) say(io, `cannot renew workload/${name}, trying on: ${describeError(error)}`);
    }
  }
  await orUndefined(client.delete("Workload", name, { namespace, signal: AbortSignal.timeout(3000) }));
  say(io, `workload "${name}" deregistered`);
}

async function renewOnce(
  { client, namespace }: Pick<Session, "client" | "namespace">,
  io: Io,
  { name, put }: { readonly name: string; readonly put: () => Promise<Applied> },
): Promise<void> {
  try {
    await client.transport.send({ method: "POST", path: paths.renew(namespace, name), body: {}, signal: io.stop, timeoutMs: 10_000 });
  } catch (error) {
    if (!isAppError(error, "NotFound")) throw error;
    await put();
    say(io, `workload/${name} was lost; registered it again`);
  }
}

function isStop(io: Io): boolean {
  return io.stop.aborted;
}

/** What trying again cannot mend: no permission, a bad request. */
function isFinal({ code }: AppError): boolean {
  const { status } = errorCodes[code];
  return status >= 400 && status < 500 && code !== "TooManyRequests" && code !== "Conflict";
}
