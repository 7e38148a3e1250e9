import { randomUUID } from "node:crypto";
import { orUndefined } from "#proto/client.ts";
import { AppError } from "#proto/error.ts";
import { KEEPER_ANNOTATION } from "#proto/workload.ts";
import { applyObject, type Applied } from "../apply/apply-object.ts";
import type { JsonObject } from "../apply/three-way.ts";
import { follow } from "../follow.ts";
import { waitUntilGone } from "../gone.ts";
import { say, type GlobalOptions, type Invocation, type Io } from "../io.ts";
import { checkOption, durationOption, labelOptions, portOption, wholeOption } from "../options.ts";
import { lastRevision, waitUntilLive } from "../receipts.ts";
import { renewOnce, renewUntil } from "../renew.ts";
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
  readonly follow?: true;
  readonly wait?: true;
  readonly timeout: string;
}

export async function register({ args, options, io }: Invocation<RegisterOptions>): Promise<number> {
  const [name = "", ...command] = args;
  const timeoutMs = durationOption("--timeout", options.timeout);
  const ttl = options.ttl ?? (options.follow ? FOLLOW_TTL : undefined);
  const spec = specOf({ ...options, ...(ttl !== undefined && { ttl }) });
  checkTogether(options, command);
  if (options.port.length === 0)
    say(
      io,
      `Warning: no --port: services reach ${name} only by a number as their targetPort, or headless; give --port http=8080 to be found by name`,
    );
  await using session = await openSession(options, io);
  const node = options.node ?? (await thisNode(session, io));
  const labels = labelOptions("--label", options.label);
  const keeper = randomUUID();
  const value: JsonObject = {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: {
      name,
      ...(Object.keys(labels).length > 0 && { labels }),
      ...((options.follow || options.renew) && { annotations: { [KEEPER_ANNOTATION]: keeper } }),
    },
    spec: { node, ...spec },
  };
  const put = async (signal: AbortSignal): Promise<Applied> => putWorkload(session, io, { name, value, timeoutMs, signal });
  if (options.follow && ttl !== undefined) return await follow(session, io, { name, keeper, ttl, put, command });
  const { outcome, object } = await put(io.stop);
  io.out(`workload/${name} ${outcome === "created" ? "registered" : outcome}\n`);
  // Nothing was written that would have renewed it.
  if (outcome === "unchanged" && ttl !== undefined) await renewOnce(session, io, { name, put }, io.stop);
  if (options.wait) await waitUntilLive(session.client, io, { revision: lastRevision([object]), timeoutMs });
  if (options.renew && ttl !== undefined) {
    say(io, `renewing workload/${name} three times in each ${ttl}; a signal takes it out of service`);
    await renewUntil(session, io, { name, keeper, ttl, put, isRegistered: true }, io.stop);
  }
  return 0;
}

/** For who follows a program: after a power cut it is gone so soon. */
const FOLLOW_TTL = "30s";

function checkTogether({ follow: follows, renew, ttl }: RegisterOptions, command: readonly string[]): void {
  if (follows && command.length === 0)
    throw new AppError("Usage", "--follow needs a program", {
      hint: "fairlead register web-1 --port http=8080 --follow -- ./web --listen :8080",
    });
  if (!follows && command.length > 0)
    throw new AppError("Usage", `one name at a time: what is "${command.join(" ")}"?`, { hint: "a program to run is given with --follow" });
  if (follows && renew) throw new AppError("Usage", "--follow renews by itself: leave out --renew");
  if (renew && ttl === undefined) throw new AppError("Usage", "--renew needs a --ttl", { hint: "--ttl 30s, for example" });
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
  readonly signal: AbortSignal;
}

/** One that is just being removed cannot be changed back: it is ended at once, and made anew. */
async function putWorkload(session: Session, io: Io, { name, value, timeoutMs, signal }: Put): Promise<Applied> {
  const { client, namespace } = session;
  const at = { namespace, signal };
  const standing = await orUndefined(client.get("Workload", name, at));
  if (standing?.metadata.deletionTimestamp !== undefined) {
    await orUndefined(client.delete("Workload", name, { ...at, gracePeriodSeconds: 0 }));
    await waitUntilGone(session, io, [{ kind: "Workload", name, namespace, uid: standing.metadata.uid }], timeoutMs);
  }
  return applyObject(session, { kind: "Workload", name, namespace, value }, { onWarning: warnTo(io), signal });
}
