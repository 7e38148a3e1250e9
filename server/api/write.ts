import type { Logger } from "pino";
import { AppError, isAppError } from "#proto/error.ts";
import { kinds, type AnyObject, type KindName } from "#proto/kinds.ts";
import { DnsLabel } from "#proto/meta.ts";
import { DEFAULT_NAMESPACE } from "#proto/namespace.ts";
import { Malformed } from "#proto/parse.ts";
import { keptOnlyWarnings, unknownFields } from "#proto/unknown-fields.ts";
import type { Admission, AdmissionRequest, Admitted, Operation } from "#server/admission/admission.ts";
import { changesNetworks, NETWORKS_TURN } from "#server/admission/node.ts";
import { changesOutside } from "#server/admission/service.ts";
import { alreadyExists, notFound } from "#server/store/errors.ts";
import type { Committed, Store, StoreKey, Write } from "#server/store/store.ts";
import type { Identity } from "#server/trust/identity.ts";
import { userNameOf } from "./authorize.ts";
import { draftOf, newObject, replacedObject, withGeneration, withStatus, type Draft, type Place } from "./draft.ts";
import { tooLarge } from "./error-reply.ts";
import type { WriteOptions } from "./options.ts";
import { checkPreconditions, Raced, withRetries, writeInTurn, type Turns } from "./races.ts";
import { tracksOfWrite, withTracks, type Tracker } from "./ownership/track.ts";

/** The way of a write: draft → validation → admission → store. What is unconditional is tried again when somebody else was faster. */

export interface WriteDeps extends Turns {
  readonly store: Store;
  readonly admission: Admission;
  readonly log: Pick<Logger, "info">;
  readonly now: () => number;
  /** Told how long each commit took. */
  readonly observeCommit: (seconds: number) => void;
  /** Told of each write of an object itself that changed nothing: no commit tells of it. */
  readonly onSameAgain: (object: AnyObject) => void;
}

export interface WriteRequest extends Place {
  readonly identity: Identity;
  readonly options: WriteOptions;
  readonly subresource?: "status" | undefined;
  /** The writer's program, by which its fields are known when it gives no name of its own. */
  readonly userAgent?: string | undefined;
}

export interface Written {
  readonly object: AnyObject;
  readonly created: boolean;
  readonly warnings: readonly string[];
}

export type Change = (current: AnyObject) => unknown;

export const MAX_OBJECT_BYTES = 1024 * 1024;

export async function createObject(
  deps: WriteDeps,
  request: WriteRequest,
  input: unknown,
  tracks: Tracker = tracksOfWrite,
): Promise<Written> {
  const { kind, namespace, identity, options } = request;
  const draft = draftOf(request, input);
  if ((draft.metadata["resourceVersion"] ?? "") !== "")
    throw new AppError("BadRequest", "resourceVersion should not be set on objects to be created");
  return withRetries(async () => {
    const namespaceStands = await namespaceCheck(deps.store, namespace);
    const warnings = [...unknownFieldWarnings(kind, draft.body, options, []), ...keptOnlyWarnings(kind, draft.body)];
    const facts = { kind, operation: "create", identity, previous: undefined } as const;
    const next = await formed(deps, facts, () => newObject(kind, draft, deps.now()));
    return inTurnOfNetworks(deps, undefined, next, async () => {
      const admitted = await deps.admission.admit({ ...facts, next });
      const key = keyOfObject(kind, admitted.object);
      if (options.dryRun && (await deps.store.get(key))) throw alreadyExists(key);
      const made = sized(withTracks(admitted.object, tracks({ ...request, draft, next, stands: admitted.object, now: deps.now() })));
      const write: Write = { op: "put", object: made, expect: "create", claims: admitted.claims };
      const object = await commit(deps, request, { object: made }, { verb: "created", writes: [...namespaceStands, write] }).catch(
        (error: unknown) => {
          // Another name is drawn when the random one was taken.
          if (isAppError(error, "AlreadyExists") && draft.metadata["name"] === undefined) throw new Raced(error);
          throw error;
        },
      );
      return { object, created: true, warnings: [...warnings, ...admitted.warnings] };
    });
  });
}

/** PUT: `input` replaces what is there; creates where nothing is and no resourceVersion was given. */
export async function replaceObject(deps: WriteDeps, request: WriteRequest, input: unknown, mayCreate: () => void): Promise<Written> {
  const draft = draftOf(request, input);
  const key = keyOf(request);
  return writeInTurn(deps, key, async () => {
    const current = await deps.store.get(key);
    if (current) return update(deps, request, current, draft, []);
    if (request.subresource !== undefined || (draft.metadata["resourceVersion"] ?? "") !== "") throw notFound(key);
    mayCreate();
    return createHere(deps, request, input);
  });
}

/** Where there was nothing a moment ago. */
export async function createHere(deps: WriteDeps, request: WriteRequest, input: unknown, tracks?: Tracker): Promise<Written> {
  return createObject(deps, request, input, tracks).catch((error: unknown) => {
    throw isAppError(error, "AlreadyExists") ? new Raced(error) : error;
  });
}

/** PATCH: `change` makes of what is there what shall be there. */
export async function patchObject(deps: WriteDeps, request: WriteRequest, change: Change): Promise<Written> {
  const key = keyOf(request);
  return writeInTurn(deps, key, async () => {
    const current = await deps.store.get(key);
    if (!current) throw notFound(key);
    const draft = draftOf(request, change(current));
    return update(deps, request, current, draft, unknownFields(request.kind, current));
  });
}

/** Writes `draft` over what is there; `known`: unknown fields of which nobody need be told again. */
export async function update(
  deps: WriteDeps,
  request: WriteRequest,
  current: AnyObject,
  draft: Draft,
  known: readonly string[],
  tracks: Tracker = tracksOfWrite,
): Promise<Written> {
  const { kind, identity, options, subresource } = request;
  checkPreconditions(keyOf(request), current, draft);
  const kept = subresource === undefined ? keptOnlyWarnings(kind, draft.body) : [];
  const warnings = [...unknownFieldWarnings(kind, draft.body, options, known), ...kept];
  const operation: Operation = subresource ?? "update";
  const facts = { kind, operation, identity, previous: current };
  const next = await formed(deps, facts, () =>
    subresource === "status" ? withStatus(kind, current, draft) : replacedObject(kind, current, draft),
  );
  return inTurnOfNetworks(deps, current, next, async () => {
    const admitted = await deps.admission.admit({ ...facts, next });
    const stands = withGeneration(kind, current, admitted.object);
    const object = sized(withTracks(stands, tracks({ ...request, draft, current, next, stands, now: deps.now() })));
    const write: Write = { op: "put", object, expect: Number(current.metadata.resourceVersion), claims: admitted.claims };
    const stored = await commit(deps, request, { ...admitted, object }, { verb: "changed", writes: [write], current });
    return { object: stored, created: false, warnings: [...warnings, ...admitted.warnings] };
  });
}

/** What `make` makes. What admission's rules find is told together with faults of the form. */
async function formed(
  { admission }: Pick<WriteDeps, "admission">,
  facts: Omit<AdmissionRequest, "next">,
  make: () => AnyObject,
): Promise<AnyObject> {
  try {
    return make();
  } catch (error) {
    if (error instanceof Malformed && error.readable) await admission.admit({ ...facts, next: error.readable, faults: error.causes });
    throw error;
  }
}

/** Nobody else's prefixes and addresses change between looking at them and writing. */
function inTurnOfNetworks<T>({ inTurn }: WriteDeps, current: AnyObject | undefined, next: AnyObject, work: () => Promise<T>): Promise<T> {
  const changes =
    (next.kind === "Node" && changesNetworks(current?.kind === "Node" ? current : undefined, next)) ||
    (next.kind === "Service" && changesOutside(current?.kind === "Service" ? current : undefined, next));
  return changes ? inTurn(NETWORKS_TURN, work) : work();
}

/** Writes, or for a dry run says what would be written. */
async function commit(
  deps: WriteDeps,
  { options, identity, kind, subresource }: WriteRequest,
  { object }: Pick<Admitted, "object">,
  { verb, writes, current }: { readonly verb: string; readonly writes: readonly Write[]; readonly current?: AnyObject },
): Promise<AnyObject> {
  if (options.dryRun) {
    const resourceVersion = current?.metadata.resourceVersion;
    return { ...object, metadata: { ...object.metadata, ...(resourceVersion !== undefined && { resourceVersion }) } };
  }
  const { objects } = await transact(deps, writes);
  const stored = objects.at(-1) ?? object;
  if (stored.metadata.resourceVersion !== current?.metadata.resourceVersion)
    logChange(deps, { verb, kind, object: stored, identity, subresource });
  else if (subresource === undefined) deps.onSameAgain(stored);
  return stored;
}

export async function transact({ store, observeCommit }: WriteDeps, writes: readonly Write[]): Promise<Committed> {
  const start = performance.now();
  const committed = await store.transact(writes);
  observeCommit((performance.now() - start) / 1000);
  return committed;
}

export function logChange(
  { log }: WriteDeps,
  change: {
    readonly verb: string;
    readonly kind: KindName;
    readonly object: AnyObject;
    readonly identity: Identity;
    readonly subresource?: "status" | undefined;
  },
): void {
  const { namespace, name, resourceVersion } = change.object.metadata;
  log.info(
    {
      kind: change.kind,
      namespace,
      name,
      revision: Number(resourceVersion),
      by: userNameOf(change.identity),
      subresource: change.subresource,
    },
    change.verb,
  );
}

/** The namespace must be there, and still be when the object is written. */
async function namespaceCheck(store: Store, namespace: string | undefined): Promise<Write[]> {
  if (namespace === undefined) return [];
  const key: StoreKey = { kind: "Namespace", namespace: "", name: namespace };
  const found = await store.get(key);
  if (!found) {
    const missing = notFound(key);
    const make = `echo '{apiVersion: v1, kind: Namespace, metadata: {name: ${namespace}}}' | fairlead apply -f -`;
    const isName = namespace !== DEFAULT_NAMESPACE && DnsLabel.safeParse(namespace).success;
    const hint = isName ? `use another with -n, or create it: ${make}` : undefined;
    throw new AppError("NotFound", missing.message, { subject: missing.subject, hint });
  }
  if (found.metadata.deletionTimestamp !== undefined)
    throw new AppError("Forbidden", `unable to create new content in namespace ${namespace} because it is being terminated`);
  return [{ op: "check", key, expect: Number(found.metadata.resourceVersion) }];
}

export function unknownFieldWarnings(kind: KindName, body: unknown, { fieldValidation }: WriteOptions, known: readonly string[]): string[] {
  if (fieldValidation === "Ignore") return [];
  const unknown = unknownFields(kind, body).filter((field) => !known.includes(field));
  if (unknown.length === 0) return [];
  if (fieldValidation === "Warn") return unknown.map((field) => `unknown field "${field}"`);
  const { version } = kinds[kind];
  const list = unknown.map((field) => `unknown field "${field}"`).join(", ");
  throw new AppError("BadRequest", `${kind} in version "${version}" cannot be handled as a ${kind}: strict decoding error: ${list}`, {
    causes: unknown.map((field) => ({ field, reason: "FieldValueInvalid", message: "unknown field" })),
  });
}

function sized(object: AnyObject): AnyObject {
  if (Buffer.byteLength(JSON.stringify(object)) > MAX_OBJECT_BYTES) throw tooLarge(MAX_OBJECT_BYTES);
  return object;
}

export function keyOf({ kind, namespace = "", name = "" }: Place): StoreKey {
  return { kind, namespace, name };
}

function keyOfObject(kind: KindName, { metadata }: AnyObject): StoreKey {
  return { kind, namespace: metadata.namespace ?? "", name: metadata.name };
}
