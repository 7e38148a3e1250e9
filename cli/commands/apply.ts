import { AppError, errorCodes, isAppError } from "#proto/error.ts";
import { kinds, type AnyObject } from "#proto/kinds.ts";
import { parseObject } from "#proto/parse.ts";
import { applyObject } from "../apply/apply-object.ts";
import type { JsonObject } from "../apply/three-way.ts";
import { say, type Invocation, type Io } from "../io.ts";
import type { Manifest } from "../manifest/parse.ts";
import { readManifests } from "../manifest/read.ts";
import { durationOption } from "../options.ts";
import { renderError } from "../output/error.ts";
import { lastRevision, waitUntilLive } from "../receipts.ts";
import { openSession, warnTo, type Session } from "../session.ts";
import { singularOf } from "../targets.ts";

interface ApplyOptions {
  readonly filename: readonly string[];
  readonly recursive?: true;
  readonly dryRun?: "client" | "server";
  readonly wait?: true;
  readonly timeout: string;
}

export async function apply({ options, io }: Invocation<ApplyOptions>): Promise<number> {
  if (options.filename.length === 0)
    throw new AppError("Usage", "nothing to apply", { hint: "name a file or folder: fairlead apply -f service.yaml" });
  const timeoutMs = durationOption("--timeout", options.timeout);
  if (options.dryRun === "client") return forEachManifest(options, io, async (manifest) => checkHere(manifest, options.namespace, io));
  await using session = await openSession(options, io);
  const applied: AnyObject[] = [];
  const code = await forEachManifest(options, io, async (manifest) => {
    const { outcome, object } = await applyObject(
      session,
      { ...manifest, namespace: namespaceFor(manifest, session.namespace, session.namespaceIsGiven), value: manifest.value as JsonObject },
      { dryRun: options.dryRun === "server", onWarning: warnTo(io), signal: io.stop },
    );
    io.out(`${singularOf(manifest.kind)}/${manifest.name} ${outcome}${options.dryRun === "server" ? " (server dry run)" : ""}\n`);
    applied.push(object);
  });
  if (options.wait && applied.length > 0 && options.dryRun === undefined) await waitAll(session, io, applied, timeoutMs);
  return code;
}

/** What was stored is waited for also when other documents were faulty. */
async function waitAll(session: Session, io: Io, applied: readonly AnyObject[], timeoutMs: number): Promise<void> {
  await waitUntilLive(session.client, io, { revision: lastRevision(applied), timeoutMs });
}

/** Runs the work on each object of the files; a fault is told with its place and the others go on. The exit code is that of the first fault. */
export async function forEachManifest(
  { filename, recursive = false }: { readonly filename: readonly string[]; readonly recursive?: boolean },
  io: Io,
  work: (manifest: Manifest) => Promise<void>,
): Promise<number> {
  let code = 0;
  let seen = 0;
  const failed = (error: unknown, place: Manifest["place"]): void => {
    if (!isAppError(error) || error.code === "ServiceUnavailable") throw error; // the rest would fail in the same way
    io.err(renderError(error, place));
    code ||= errorCodes[error.code].exit;
  };
  for await (const parsed of readManifests(filename, { recursive, io })) {
    seen++;
    if ("fault" in parsed) failed(parsed.fault.error, parsed.fault.place);
    else
      try {
        await work(parsed.manifest);
      } catch (error) {
        failed(error, parsed.manifest.place);
      }
  }
  if (seen === 0) say(io, `no objects in ${filename.join(", ")}`);
  return code;
}

/** -n and the manifest must not contradict each other, as with kubectl: one of the two is a mistake. */
export function namespaceFor({ kind, namespace }: Manifest, wanted: string, isGiven: boolean): string | undefined {
  if (!kinds[kind].namespaced) return undefined;
  if (namespace !== undefined && isGiven && namespace !== wanted)
    throw new AppError("Usage", `the namespace of the object ("${namespace}") is not the one of -n ("${wanted}")`, {
      hint: `leave out -n, or use -n ${namespace}`,
    });
  return namespace ?? wanted;
}

/** By the same schemas as the server's; what depends on other objects only the server can say. */
function checkHere(manifest: Manifest, givenNamespace: string | undefined, io: Io): void {
  const { kind, name, value } = manifest;
  namespaceFor(manifest, givenNamespace ?? "default", givenNamespace !== undefined);
  parseObject(kind, value);
  io.out(`${singularOf(kind)}/${name} valid (dry run)\n`);
}
