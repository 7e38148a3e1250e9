import { orUndefined, type WriteOptions } from "#proto/client.ts";
import { isAppError } from "#proto/error.ts";
import { formatIp, parseIp } from "#proto/ip.ts";
import { kinds, type AnyObject, type InputOf, type KindName } from "#proto/kinds.ts";
import { fault, invalid } from "#proto/parse.ts";
import { clusterIpsOf, HEADLESS, isHeadless } from "#proto/service.ts";
import type { Session } from "../session.ts";
import { canonical, isObject, mergePatch, threeWay, type JsonObject } from "./three-way.ts";

/** Where kubectl keeps it too, so that both can take turns with the same objects. */
export const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

export interface Applied {
  readonly outcome: "created" | "configured" | "unchanged";
  readonly object: AnyObject;
}

export interface ApplyObject {
  readonly kind: KindName;
  readonly name: string;
  readonly namespace: string | undefined;
  readonly value: JsonObject;
}

/** Somebody else may write between our reading and our patch: then we look again. */
const ATTEMPTS = 5;

/** Makes the object be as the manifest says; see three-way.ts. */
export async function applyObject(session: Session, wanted: ApplyObject, options: WriteOptions): Promise<Applied> {
  const { kind, name, namespace } = wanted;
  const write = { ...options, namespace };
  const manifest = normalized(wanted);
  const withNote = annotated(manifest);
  const pinned = metadataOf(manifest)["resourceVersion"] !== undefined;
  for (let attempt = 1; ; attempt++) {
    const current = await orUndefined(session.client.get(kind, name, { namespace, signal: options.signal }));
    try {
      // The server, not we, judges whether it is an input of the kind.
      if (!current) return { outcome: "created", object: await session.client.create(kind, withNote as InputOf<typeof kind>, write) };
      checkClusterIp(current, manifest);
      const patch = patchFor(current, withNote);
      if (Object.keys(patch).length === 0) {
        if (mayBeWarnedOf(current)) await session.client.patch(kind, name, {}, { ...write, dryRun: true }); // for what the server has to say of it
        return { outcome: "unchanged", object: current };
      }
      const guarded = pinned ? patch : guard(patch, current);
      const object = await session.client.patch(kind, name, guarded, write);
      // What the server keeps in another form than the manifest has it (a prefix without its host bits) differs each time, and is the same.
      const isSame = object.metadata.resourceVersion === current.metadata.resourceVersion && write.dryRun !== true;
      return { outcome: isSame ? "unchanged" : "configured", object };
    } catch (error) {
      const raced = isAppError(error, "Conflict") || (!current && isAppError(error, "AlreadyExists"));
      if (!raced || pinned || attempt >= ATTEMPTS) throw error;
    }
  }
}

/**
 * The server fills in clusterIPs beside the clusterIP of a manifest. A patch that changes only the latter makes the two differ, and the server would
 * name a field that nobody wrote.
 */
function checkClusterIp(current: AnyObject, { spec }: JsonObject): void {
  if (current.kind !== "Service" || !isObject(spec) || spec["clusterIPs"] !== undefined || spec["type"] === "ExternalName") return;
  const [standing] = clusterIpsOf(current);
  const before = isHeadless(current) ? HEADLESS : standing;
  const wanted = spec["clusterIP"];
  if (before === undefined || typeof wanted !== "string" || wanted === "" || sameIp(wanted, before)) return;
  throw invalid("Service", current.metadata.name, [
    fault("spec.clusterIP", `may not be changed once set (it is ${before}): delete the service first if it is to have another`, {
      value: wanted,
    }),
  ]);
}

function sameIp(a: string, b: string): boolean {
  const [first, second] = [parseIp(a), parseIp(b)];
  return a === b || (first !== undefined && second !== undefined && formatIp(first) === formatIp(second));
}

/** Of what the server keeps and does not act on, each apply is to say so, not only the one that changed something. */
function mayBeWarnedOf(object: AnyObject): boolean {
  if (object.kind !== "Service") return false;
  const { type, externalIPs = [], loadBalancerIP, ports } = object.spec;
  return (
    type === "LoadBalancer" ||
    externalIPs.length > 0 ||
    loadBalancerIP !== undefined ||
    ports.some(({ appProtocol }) => appProtocol !== undefined)
  );
}

function patchFor(current: AnyObject, manifest: JsonObject): JsonObject {
  const standing = JSON.parse(JSON.stringify(current)) as JsonObject; // without undefined fields
  const desired = threeWay(lastApplied(current), manifest, standing);
  return mergePatch(standing, desired);
}

/** The patch holds whole lists as they were read; it must not undo what came to them meanwhile. */
function guard(patch: JsonObject, { metadata }: AnyObject): JsonObject {
  return {
    ...patch,
    metadata: { ...metadataOf(patch), ...(metadata.resourceVersion !== undefined && { resourceVersion: metadata.resourceVersion }) },
  };
}

/** Our namespace, no note of an earlier apply, and no status where that is written apart. */
function normalized({ kind, namespace, value }: ApplyObject): JsonObject {
  const { status: _, ...withoutStatus } = value;
  const metadata = metadataOf(value);
  const annotations = metadata["annotations"];
  const { [LAST_APPLIED]: _note, ...ownAnnotations } = isObject(annotations) ? annotations : {};
  return {
    ...(kinds[kind].hasStatus ? withoutStatus : value),
    metadata: {
      ...metadata,
      ...(namespace !== undefined && { namespace }),
      ...(isObject(annotations) && { annotations: ownAnnotations }),
    },
  };
}

function annotated(manifest: JsonObject): JsonObject {
  const metadata = metadataOf(manifest);
  const annotations = metadata["annotations"];
  const noted = { ...(isObject(annotations) ? annotations : {}), [LAST_APPLIED]: `${canonical(manifest)}\n` };
  return { ...manifest, metadata: { ...metadata, annotations: noted } };
}

function lastApplied({ metadata }: AnyObject): JsonObject | undefined {
  const note = metadata.annotations?.[LAST_APPLIED];
  if (note === undefined) return undefined;
  try {
    const parsed = JSON.parse(note) as JsonObject;
    return isObject(parsed) ? parsed : undefined;
  } catch {
    return undefined; // somebody wrote over it: then nothing is known of the earlier manifest
  }
}

function metadataOf(value: JsonObject): JsonObject {
  const metadata = value["metadata"];
  return isObject(metadata) ? metadata : {};
}
