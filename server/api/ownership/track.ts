import { apiVersionOf, kinds, withoutManagedFields, type AnyObject, type KindName } from "#proto/kinds.ts";
import type { Draft } from "#server/api/draft.ts";
import { timestamp } from "#server/api/draft.ts";
import type { ApplyOptions, WriteOptions } from "#server/api/options.ts";
import type { JsonObject } from "#server/api/json-body.ts";
import type { Identity } from "#server/trust/identity.ts";
import { applied } from "./apply.ts";
import { conflictError } from "./conflict.ts";
import type { Scope } from "./ownable.ts";
import { isReset, isSameWriter, readOwners, writtenOwners, type ManagedFields, type Owner, type Writer } from "./owners.ts";
import { ownerBeforeTracking, ownersAfterUpdate } from "./update.ts";

/**
 * Of which objects somebody keeps track, and how that joins a write. Tracking begins with the first writer who gives its name (`fieldManager`, as kubectl
 * and the CLI do); what only hosts and the server itself write carries no managedFields, so that fleets pay nothing for it.
 */

export interface WriteFacts {
  readonly kind: KindName;
  readonly subresource?: "status" | undefined;
  readonly identity: Identity;
  readonly userAgent?: string | undefined;
  readonly options: WriteOptions;
}

export interface TrackedWrite extends WriteFacts {
  readonly draft: Draft;
  readonly current?: AnyObject | undefined;
  /** Validated, not yet admitted. */
  readonly next: AnyObject;
  /** As it will stand in the store. */
  readonly stands: AnyObject;
  readonly now: number;
}

/** The object's managedFields after a write; undefined: nobody keeps track of it. */
export type Tracker = (write: TrackedWrite) => ManagedFields | undefined;

/** Of POST, PUT, and all PATCH but apply. */
export const tracksOfWrite: Tracker = (write) => {
  const { kind, subresource, draft, current, next, stands, now } = write;
  const given = subresource === undefined ? draft.metadata["managedFields"] : undefined;
  if (isReset(given)) return undefined;
  const tracked = Array.isArray(given) && given.length > 0 ? given : current?.metadata.managedFields;
  if (tracked === undefined && !beginsTracking(write)) return undefined;
  const time = timestamp(now);
  const scope = scopeOf(write);
  const before = current && asJson(current);
  const owners = ownersOf(kind, before, tracked, time);
  const writer: Writer = { manager: managerOf(write), operation: "Update", apiVersion: versionOf(kind), subresource };
  const after = ownersAfterUpdate({
    owners,
    writer,
    scope,
    before,
    written: asJson(next),
    stands: asJson(stands),
    time,
  });
  // Who changes nothing begins nothing: the object stays as it is.
  return tracked === undefined && !after.some((owner) => isSameWriter(owner, writer)) ? undefined : entries(after);
};

/** The object that an applied configuration makes of `current`, and its managedFields then. Throws Conflict. */
export function applyTo(
  facts: WriteFacts & { readonly options: ApplyOptions },
  current: AnyObject | undefined,
  config: Draft,
  now: number,
): { readonly object: JsonObject; readonly tracks: Tracker } {
  const { kind, subresource, options } = facts;
  const time = timestamp(now);
  const scope = scopeOf(facts);
  const live = current && asJson(current);
  const tracked = current?.metadata.managedFields;
  const writer: Writer = { manager: options.fieldManager, operation: "Apply", apiVersion: versionOf(kind), subresource };
  const owners = ownersOf(kind, live, tracked, time);
  const result = applied({
    owners,
    writer,
    scope,
    live,
    config: { ...config.body, metadata: config.metadata },
    force: options.force,
    time,
  });
  if ("conflicts" in result) throw conflictError(result.conflicts);
  const managedFields = entries(result.owners);
  return { object: result.object, tracks: () => managedFields };
}

export function withTracks(object: AnyObject, managedFields: ManagedFields | undefined): AnyObject {
  const plain = withoutManagedFields(object);
  return managedFields === undefined ? plain : { ...plain, metadata: { ...plain.metadata, managedFields } };
}

function ownersOf(kind: KindName, object: JsonObject | undefined, managedFields: unknown, time: string): readonly Owner[] {
  if (managedFields !== undefined || !object) return readOwners(managedFields);
  return [ownerBeforeTracking(object, { facts: kinds[kind], apiVersion: versionOf(kind), time })];
}

function beginsTracking({ identity, options }: WriteFacts): boolean {
  return identity.kind !== "node" && options.fieldManager !== undefined;
}

function managerOf({ identity, options, userAgent = "" }: WriteFacts): string {
  if (options.fieldManager !== undefined) return options.fieldManager;
  if (identity.kind === "node") return "fairlead-agent";
  return userAgent.split("/", 1)[0]?.slice(0, 64) || "unknown";
}

function scopeOf({ kind, subresource }: WriteFacts): Scope {
  return { facts: kinds[kind], subresource };
}

function versionOf(kind: KindName): string {
  return apiVersionOf(kinds[kind]);
}

/** None for none, so that an object of which nobody has anything is as one that was never tracked. */
function entries(owners: readonly Owner[]): ManagedFields | undefined {
  const written = writtenOwners(owners);
  return written.length === 0 ? undefined : written;
}

function asJson(object: AnyObject): JsonObject {
  return { ...object };
}
