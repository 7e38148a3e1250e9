import { AppError, errorCodes, isAppError } from "#proto/error.ts";
import { renderError } from "../output/error.ts";
import { clean } from "../output/clean.ts";
import { waitUntilGone, type Deleted } from "../gone.ts";
import { say, type Invocation, type Io } from "../io.ts";
import { durationOption, wholeOption } from "../options.ts";
import { openSession, type Session } from "../session.ts";
import { parseTargets, singularOf, type Target } from "../targets.ts";
import { forEachManifest, namespaceFor } from "./apply.ts";

interface DeleteOptions {
  readonly filename: readonly string[];
  readonly recursive?: true;
  readonly selector?: string;
  readonly all?: true;
  readonly ignoreNotFound?: true;
  readonly gracePeriod?: string;
  readonly wait?: true;
  readonly timeout: string;
}

export async function remove({ args, options, io }: Invocation<DeleteOptions>): Promise<number> {
  const timeoutMs = durationOption("--timeout", options.timeout);
  const gracePeriodSeconds =
    options.gracePeriod === undefined ? undefined : wholeOption("--grace-period", options.gracePeriod, { min: 0, max: 3600 });
  const targets = options.filename.length > 0 ? [] : parseTargets(args);
  checkWords(args, options, targets);
  await using session = await openSession(options, io);
  const removal = createRemoval(session, io, { gracePeriodSeconds, ignoreNotFound: options.ignoreNotFound === true });
  let code = 0;
  if (options.filename.length > 0)
    code = await forEachManifest(options, io, async (manifest) =>
      removal.remove(manifest.kind, manifest.name, namespaceFor(manifest, session.namespace, session.namespaceIsGiven)),
    );
  else
    for (const target of targets) {
      const failed = await removeTarget(target, { session, io, removal, selector: options.selector });
      code ||= failed;
    }
  if (options.wait) await waitUntilGone(session, io, removal.deleted, timeoutMs);
  return code;
}

/** Nothing is deleted because a word was forgotten. */
function checkWords(args: readonly string[], { filename, all, selector }: DeleteOptions, targets: readonly Target[]): void {
  const refuse = (text: string): never => {
    throw new AppError("Usage", text, { hint: "see `fairlead delete --help`" });
  };
  if (filename.length > 0 && (args.length > 0 || all || selector !== undefined)) refuse("-f stands alone: no names, -l or --all beside it");
  if (all && selector !== undefined) refuse("--all and -l contradict each other");
  for (const { kind, names } of targets) {
    if (names !== undefined && (all || selector !== undefined)) refuse("names stand alone: no -l or --all beside them");
    if (names === undefined && !all && selector === undefined) refuse(`which ${singularOf(kind)}? Give names, -l LABELS, or --all`);
  }
}

/** NotFound of one name does not stop the others. */
async function removeTarget(
  { kind, names }: Target,
  { session, io, removal, selector }: { session: Session; io: Io; removal: Removal; selector: string | undefined },
): Promise<number> {
  let code = 0;
  const found =
    names ??
    (await session.client.list(kind, { namespace: session.namespace, labelSelector: selector, signal: io.stop })).items.map(
      ({ metadata }) => metadata.name,
    );
  if (found.length === 0) say(io, "No resources found");
  for (const name of found)
    try {
      await removal.remove(kind, name, session.namespace);
    } catch (error) {
      if (!isAppError(error) || error.code === "ServiceUnavailable") throw error;
      io.err(renderError(error));
      code ||= errorCodes[error.code].exit;
    }
  return code;
}

export interface Removal {
  /** Everything removed so far. */
  readonly deleted: readonly Deleted[];
  remove(kind: Target["kind"], name: string, namespace: string | undefined): Promise<void>;
}

/** Deletes, and says so in kubectl's words. */
export function createRemoval(
  { client }: Session,
  io: Io,
  {
    gracePeriodSeconds,
    ignoreNotFound,
    verb = "deleted",
  }: { readonly gracePeriodSeconds: number | undefined; readonly ignoreNotFound: boolean; readonly verb?: string },
): Removal {
  const deleted: Deleted[] = [];
  return {
    deleted,
    async remove(kind, name, namespace) {
      try {
        const { metadata } = await client.get(kind, name, { namespace, signal: io.stop });
        await client.delete(kind, name, { namespace, gracePeriodSeconds, signal: io.stop });
        deleted.push({ kind, name, namespace, uid: metadata.uid });
        io.out(`${singularOf(kind)} "${clean(name)}" ${verb}\n`);
      } catch (error) {
        if (!ignoreNotFound || !isAppError(error, "NotFound")) throw error;
      }
    },
  };
}
