import type { Field, FieldType, MessageType } from "./wire.ts";

/**
 * The messages that Kubernetes' clients send as protocol buffers, whatever they are told. Field numbers: `generated.proto` of k8s.io/api and
 * k8s.io/apimachinery. Only fields that mean something here, and those that a client may set by its flags.
 */

const one = (name: string, type: FieldType = "string"): Field => ({ name, type });
const many = (name: string, type: FieldType = "string"): Field => ({ name, type, repeated: true });

/** Seconds since 1970 → RFC 3339; a time that is not set is an empty message. */
const Time: MessageType = {
  fields: { 1: one("seconds", "int"), 2: one("nanos", "int") },
  toJson: ({ seconds }) => (typeof seconds === "number" && Math.abs(seconds) < 8e12 ? new Date(seconds * 1000).toISOString() : undefined),
};
const IntOrString: MessageType = {
  fields: { 1: one("type", "int"), 2: one("int", "int"), 3: one("text") },
  toJson: ({ type, int = 0, text = "" }) => (type === 1 ? text : int === 0 ? undefined : int),
};

const ObjectMeta: MessageType = {
  fields: {
    1: one("name"),
    2: one("generateName"),
    3: one("namespace"),
    5: one("uid"),
    6: one("resourceVersion"),
    8: one("creationTimestamp", Time),
    11: one("labels", "stringMap"),
    12: one("annotations", "stringMap"),
    14: many("finalizers"),
  },
};

const Namespace: MessageType = { fields: { 1: one("metadata", ObjectMeta), 2: one("spec", { fields: { 1: many("finalizers") } }) } };

const ServicePort: MessageType = {
  fields: {
    1: one("name"),
    2: one("protocol"),
    3: one("port", "int"),
    4: one("targetPort", IntOrString),
    5: one("nodePort", "int"),
    6: one("appProtocol"),
  },
};
const ClientIpConfig: MessageType = { fields: { 1: one("timeoutSeconds", "int") } };
const ServiceSpec: MessageType = {
  fields: {
    1: many("ports", ServicePort),
    2: one("selector", "stringMap"),
    3: one("clusterIP"),
    4: one("type"),
    5: many("externalIPs"),
    7: one("sessionAffinity"),
    8: one("loadBalancerIP"),
    9: many("loadBalancerSourceRanges"),
    10: one("externalName"),
    11: one("externalTrafficPolicy"),
    12: one("healthCheckNodePort", "int"),
    13: one("publishNotReadyAddresses", "bool"),
    14: one("sessionAffinityConfig", { fields: { 1: one("clientIP", ClientIpConfig) } }),
    17: one("ipFamilyPolicy"),
    18: many("clusterIPs"),
    19: many("ipFamilies"),
    20: one("allocateLoadBalancerNodePorts", "bool"),
    21: one("loadBalancerClass"),
    22: one("internalTrafficPolicy"),
    23: one("trafficDistribution"),
  },
};
const Service: MessageType = { fields: { 1: one("metadata", ObjectMeta), 2: one("spec", ServiceSpec) } };

/** A time in microseconds. */
const MicroTime: MessageType = {
  fields: Time.fields,
  toJson: ({ seconds, nanos = 0 }) => {
    const time = Time.toJson?.({ seconds });
    return typeof time === "string" && typeof nanos === "number" && nanos >= 0 && nanos < 1e9
      ? time.replace(/\.\d+Z$/, `.${String(Math.floor(nanos / 1000)).padStart(6, "0")}Z`)
      : undefined;
  },
};
const ObjectReference: MessageType = {
  fields: {
    1: one("kind"),
    2: one("namespace"),
    3: one("name"),
    4: one("uid"),
    5: one("apiVersion"),
    6: one("resourceVersion"),
    7: one("fieldPath"),
  },
};
const EventSource: MessageType = { fields: { 1: one("component"), 2: one("host") } };
const EventSeries: MessageType = { fields: { 1: one("count", "int"), 2: one("lastObservedTime", MicroTime) } };
/** Of events.k8s.io/v1. */
const EventsEvent: MessageType = {
  fields: {
    1: one("metadata", ObjectMeta),
    2: one("eventTime", MicroTime),
    3: one("series", EventSeries),
    4: one("reportingController"),
    5: one("reportingInstance"),
    6: one("action"),
    7: one("reason"),
    8: one("regarding", ObjectReference),
    9: one("related", ObjectReference),
    10: one("note"),
    11: one("type"),
    12: one("deprecatedSource", EventSource),
    13: one("deprecatedFirstTimestamp", Time),
    14: one("deprecatedLastTimestamp", Time),
    15: one("deprecatedCount", "int"),
  },
};
const CoreEvent: MessageType = {
  fields: {
    1: one("metadata", ObjectMeta),
    2: one("involvedObject", ObjectReference),
    3: one("reason"),
    4: one("message"),
    5: one("source", EventSource),
    6: one("firstTimestamp", Time),
    7: one("lastTimestamp", Time),
    8: one("count", "int"),
    9: one("type"),
    10: one("eventTime", MicroTime),
    11: one("series", EventSeries),
    12: one("action"),
    13: one("related", ObjectReference),
    14: one("reportingComponent"),
    15: one("reportingInstance"),
  },
};

const ResourceAttributes: MessageType = {
  fields: {
    1: one("namespace"),
    2: one("verb"),
    3: one("group"),
    4: one("version"),
    5: one("resource"),
    6: one("subresource"),
    7: one("name"),
  },
};
const NonResourceAttributes: MessageType = { fields: { 1: one("path"), 2: one("verb") } };
const SelfSubjectAccessReview: MessageType = {
  fields: {
    2: one("spec", {
      fields: { 1: one("resourceAttributes", ResourceAttributes), 2: one("nonResourceAttributes", NonResourceAttributes) },
    }),
  },
};
const SelfSubjectRulesReview: MessageType = { fields: { 2: one("spec", { fields: { 1: one("namespace") } }) } };

/** By apiVersion and kind. */
export const MESSAGES: Readonly<Record<string, MessageType>> = {
  "v1 Namespace": Namespace,
  "v1 Service": Service,
  "v1 Event": CoreEvent,
  "events.k8s.io/v1 Event": EventsEvent,
  "authorization.k8s.io/v1 SelfSubjectAccessReview": SelfSubjectAccessReview,
  "authorization.k8s.io/v1 SelfSubjectRulesReview": SelfSubjectRulesReview,
  "authentication.k8s.io/v1 SelfSubjectReview": { fields: {} },
};

const TypeMeta: MessageType = { fields: { 1: one("apiVersion"), 2: one("kind") } };
/** runtime.Unknown without the object itself, whose type stands in it. */
export const ENVELOPE: MessageType = { fields: { 1: one("typeMeta", TypeMeta) } };
export const envelopeOf = (object: MessageType): MessageType => ({ fields: { 2: one("raw", object) } });
