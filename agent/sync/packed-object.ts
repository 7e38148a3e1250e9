import type { FollowedKind } from "#proto/agents.ts";
import { endpointsFor, SERVICE_NAME_LABEL, serviceKeyOf } from "#proto/endpoint-slice.ts";
import type { ObjectOf } from "#proto/kinds.ts";
import { keyOf, type ObjectKey, type ObjectMeta } from "#proto/meta.ts";
import { DNS_ORDER_ANNOTATION, PROXY_NAME_LABEL, SCHEDULER_ANNOTATION } from "#proto/service.ts";

export type FollowedObject = { [Kind in FollowedKind]: ObjectOf<Kind> }[FollowedKind];

/**
 * An object as it is held: its JSON, a third of what the parsed form takes (docs/adr/0005-memory.md), and what must be known of it without parsing. The
 * same text goes to disk, and equal objects have equal texts: they come from one parser, hence with the same order of fields.
 */
export interface PackedObject {
  readonly kind: FollowedKind;
  readonly key: ObjectKey;
  readonly revision: number;
  /** Of a slice: the Service that it is of. */
  readonly service: ObjectKey | undefined;
  readonly text: string;
}

export function packObject(object: FollowedObject): PackedObject {
  return {
    kind: object.kind,
    key: keyOf(object),
    revision: Number(object.metadata.resourceVersion ?? 0),
    service: object.kind === "EndpointSlice" ? serviceKeyOf(object) : undefined,
    text: JSON.stringify(object),
  };
}

const KEPT_ANNOTATIONS = [SCHEDULER_ANNOTATION, DNS_ORDER_ANNOTATION];

/**
 * Without what kernel and names of this node do not follow from: of Services and slices there may be tens of thousands. Endpoints that only their own node
 * reaches are there for that node alone. To keep more is another IMAGE_FORMAT.
 */
export function leanObject(object: FollowedObject, nodeName: string): FollowedObject {
  if (object.kind === "Service") {
    const { apiVersion, kind, metadata, spec, status } = object;
    const kept = Object.entries(metadata.annotations ?? {}).filter(([name]) => KEPT_ANNOTATIONS.includes(name));
    const annotations = kept.length === 0 ? undefined : { annotations: Object.fromEntries(kept) };
    const proxy = metadata.labels?.[PROXY_NAME_LABEL];
    const labels = proxy === undefined ? undefined : { labels: { [PROXY_NAME_LABEL]: proxy } };
    const { ingress } = status.loadBalancer;
    return {
      apiVersion,
      kind,
      metadata: { ...leanMeta(metadata), ...labels, ...annotations },
      spec,
      status: { loadBalancer: ingress ? { ingress } : {} },
    };
  }
  if (object.kind !== "EndpointSlice") return object;
  const { apiVersion, kind, metadata, addressType, ports } = object;
  const service = metadata.labels?.[SERVICE_NAME_LABEL];
  const labels = service === undefined ? undefined : { [SERVICE_NAME_LABEL]: service };
  const reached = endpointsFor(object, nodeName);
  return { apiVersion, kind, metadata: { ...leanMeta(metadata), labels }, addressType, endpoints: reached, ports };
}

function leanMeta<Meta extends ObjectMeta>({
  name,
  namespace,
  resourceVersion,
}: Meta): Pick<Meta, "name" | "namespace" | "resourceVersion"> {
  return { name, namespace, resourceVersion };
}
