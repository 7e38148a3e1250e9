import type { KindFacts } from "#proto/kinds.ts";
import { SERVERS_OWN } from "#server/api/draft.ts";
import { isHollow, isJsonObject, type JsonObject } from "#server/api/json-body.ts";

/** The part of an object that clients can have: all but its identity, what the server says of it, and what another path writes. Pure. */

/** What of an object a path writes: the object's own path its status too, where there is no path for that. */
export interface Scope {
  readonly facts: Pick<KindFacts, "hasStatus" | "merging">;
  readonly subresource: "status" | undefined;
}

/** As Kubernetes leaves out, and the times of deletion, which a client cannot set. */
const NOBODYS_METADATA: ReadonlySet<string> = new Set(["name", "namespace", ...SERVERS_OWN]);

export function ownablePart(object: object, { facts, subresource }: Scope): JsonObject {
  const { apiVersion: _apiVersion, kind: _kind, metadata, status, ...rest }: JsonObject = { ...object };
  if (subresource === "status") return status === undefined ? {} : { status };
  const own = metadataPart(metadata, (key, value) => !NOBODYS_METADATA.has(key) && !isHollow(value));
  return {
    ...rest,
    ...(Object.keys(own).length > 0 && { metadata: own }),
    ...(!facts.hasStatus && status !== undefined && { status }),
  };
}

/** `object` with another such part. Of metadata, what is empty is none, as Kubernetes writes it. */
export function withOwnablePart(object: JsonObject, part: JsonObject, { facts, subresource }: Scope): JsonObject {
  if (subresource === "status") return { ...object, status: part["status"] };
  const { apiVersion, kind, status } = object;
  const { metadata, ...rest } = part;
  return {
    apiVersion,
    kind,
    ...rest,
    ...(facts.hasStatus && status !== undefined && { status }),
    metadata: {
      ...metadataPart(object["metadata"], (key) => NOBODYS_METADATA.has(key)),
      ...metadataPart(metadata, (_key, value) => !isHollow(value)),
    },
  };
}

function metadataPart(metadata: unknown, takes: (key: string, value: unknown) => boolean): JsonObject {
  return isJsonObject(metadata) ? Object.fromEntries(Object.entries(metadata).filter(([key, value]) => takes(key, value))) : {};
}
