import { z } from "zod";
import { keptOnly } from "./kept-only.ts";

/** Names, labels and ObjectMeta. Rules: Kubernetes "Object Names and IDs", "Labels and Selectors"; RFC 1123, RFC 1035, RFC 6335. */

export const DnsLabel = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
    "must be 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit (RFC 1123 label)",
  );

/** Names of Services become host names, and may not start with a digit. */
export const Rfc1035Label = z
  .string()
  .regex(
    /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/,
    "must be 1 to 63 of a-z, 0-9 and '-', starting with a letter and ending with a letter or digit (RFC 1035 label)",
  );

export const DnsSubdomain = z
  .string()
  .max(253, "must be no more than 253 characters")
  .regex(
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/,
    "must be of a-z, 0-9, '-' and '.', each part starting and ending with a letter or digit (RFC 1123 subdomain)",
  );

/** IANA service name: what a named port may be called. */
export const PortName = z
  .string()
  .regex(
    /^(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/,
    "must be 1 to 15 of a-z, 0-9 and '-', with at least one letter, no '--', starting and ending with a letter or digit (RFC 6335)",
  );

export const PortNumber = z
  .int("must be a whole number from 1 to 65535")
  .min(1, "must be between 1 and 65535, inclusive")
  .max(65535, "must be between 1 and 65535, inclusive");

export const Protocol = z.enum(["TCP", "UDP", "SCTP"]);
export type Protocol = z.output<typeof Protocol>;

/** `name` or `example.com/name`: of labels, annotations, classes. */
export const QualifiedName = z
  .string()
  .max(317)
  .regex(
    /^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
    "must be an optional DNS prefix and '/', then 1 to 63 of letters, digits, '-', '_' and '.'",
  );
const LabelValue = z
  .string()
  .regex(
    /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/,
    "must be empty or up to 63 of letters, digits, '-', '_' and '.', starting and ending with a letter or digit",
  );

export const Labels = z.record(QualifiedName, LabelValue);
export type Labels = z.output<typeof Labels>;

const ANNOTATIONS_MAX_BYTES = 256 * 1024;
export const Annotations = z
  .record(QualifiedName, z.string())
  .refine(
    (all) => Object.entries(all).reduce((sum, [key, value]) => sum + key.length + value.length, 0) <= ANNOTATIONS_MAX_BYTES,
    "must be no more than 262144 bytes in total",
  );

const NAME_TEXT = "The name, unique among the objects of its kind and namespace; cannot be changed.";
const METADATA_TEXT = "Name, labels and what else every kind has. Kubernetes' ObjectMeta.";
/** For the apiVersion, kind, spec and status of each kind. */
export const API_VERSION_TEXT = "The group and version of this form of the object.";
export const KIND_TEXT = "The kind of the object.";

const OwnerReference = z.looseObject({
  apiVersion: z.string().optional().describe("The owner's apiVersion."),
  kind: z.string().optional().describe("The owner's kind."),
  name: z.string().optional().describe("The owner's name."),
  uid: z.string().optional().describe("The owner's uid, which tells the entries apart."),
  controller: z.boolean().optional().describe("Whether the owner manages this object. Kept, not acted on."),
  blockOwnerDeletion: z.boolean().optional().describe("Kept, not acted on."),
});

/** Kubernetes' metav1.Condition: what somebody found of an object, by its type. */
export const Condition = z.looseObject({
  type: z.string().optional().describe("What it is about, one CamelCase word; tells the entries apart."),
  status: z.string().optional().describe("True, False or Unknown."),
  reason: z.string().optional().describe("Why, one CamelCase word for programs."),
  message: z.string().optional().describe("Why, for people."),
  lastTransitionTime: z.string().optional().describe("When the status last changed, RFC 3339."),
  observedGeneration: z.int().optional().describe("The metadata.generation that was looked at."),
});

const ManagedFieldsEntry = z.looseObject({
  manager: z.string().optional().describe("The name of the writer: its field manager, or else the name of its program."),
  operation: z.string().optional().describe("Apply for what it applies server-side, Update for all else that it changes."),
  apiVersion: z.string().optional().describe("The version in which the fields are named."),
  time: z.string().optional().describe("When the entry or a value of its fields last changed, RFC 3339."),
  fieldsType: z.string().optional().describe("The form of fieldsV1; always FieldsV1."),
  fieldsV1: z
    .record(z.string(), z.unknown())
    .optional()
    .describe("The fields as a tree: f:NAME a field, k:{...} an item of a list by its key, v:VALUE an item of a set."),
  subresource: z.string().optional().describe("Says status for what was written at the path /status; absent for the object's own path."),
});

export const ObjectMeta = z.looseObject({
  name: z.string().describe(NAME_TEXT),
  generateName: z.string().optional().describe("Where name is absent, the server makes one of this prefix and five random characters."),
  namespace: DnsLabel.optional().describe(
    "The namespace; cannot be changed. Absent for kinds that are in none. Default: that of the request's path.",
  ),
  uid: z.string().optional().describe("Set by the server: differs for every object that there ever was."),
  resourceVersion: z
    .string()
    .optional()
    .describe(
      "The store's revision at the object's last change, in decimal. Sent with a write: refused with 409 unless it is still that one.",
    ),
  generation: z.int().optional().describe("Set by the server: rises by one with each change of what is wished for, not with the status."),
  creationTimestamp: z.string().optional().describe("Set by the server: when the object was made, RFC 3339, in seconds."),
  deletionTimestamp: z
    .string()
    .optional()
    .describe(
      "Set by the server: the object was deleted. A Workload goes at this time, a Namespace when all that is in it is gone. RFC 3339.",
    ),
  deletionGracePeriodSeconds: z.int().optional().describe("Set by the server: seconds from the deletion until the object goes."),
  labels: Labels.optional().describe("Names and values to select objects by. A value has up to 63 letters, digits, '-', '_' and '.'."),
  annotations: Annotations.optional().describe(
    "Names and free texts for tools; 262144 bytes in total. Some under fairlead.dev/ are acted on.",
  ),
  finalizers: keptOnly(z.array(z.string()).optional(), {
    is: "In Kubernetes: who must take its name out of this list before a deleted object goes.",
    so: "a deleted object goes without waiting for anybody",
  }),
  ownerReferences: keptOnly(z.array(OwnerReference).optional(), {
    is: "The objects that this one belongs to.",
    so: "nothing is deleted with its owner",
  }),
  managedFields: z
    .array(ManagedFieldsEntry)
    .optional()
    .describe("Set by the server: who wrote which field, for server-side apply. Absent until a writer gives its name (fieldManager)."),
  selfLink: z.string().optional().describe("Kubernetes' own, of former times. Taken and dropped."),
});
export type ObjectMeta = z.output<typeof ObjectMeta>;

/** ObjectMeta whose name follows `name`. */
export function metaWith<Name extends z.ZodType<string>>(name: Name) {
  return ObjectMeta.extend({ name: name.describe(NAME_TEXT) }).describe(METADATA_TEXT);
}

/** `30s`, `1m30s`, `500ms`, `2h`: as Go and Kubernetes write durations; no bare numbers, at most a week. */
export const Duration = z
  .string()
  .regex(/^(?=.)(\d{1,4}h)?(\d{1,5}m(?!s))?(\d{1,6}s)?(\d{1,9}ms)?$/, { error: "must be a duration like 5s, 500ms or 1m30s", abort: true })
  .refine((text) => durationMs(text) >= 1 && durationMs(text) <= 7 * 24 * 3600_000, "must be from 1ms to 168h");
export type Duration = z.output<typeof Duration>;

const UNIT_MS: Readonly<Record<string, number>> = { h: 3600_000, m: 60_000, s: 1000, ms: 1 };

/** Milliseconds of a valid Duration. */
export function durationMs(text: string): number {
  let sum = 0;
  for (const [, number = "0", unit = "s"] of text.matchAll(/(\d+)(ms|h|m|s)/g)) sum += Number(number) * (UNIT_MS[unit] ?? 0);
  return sum;
}

/** What every stored object has, after the server has filled in its part. */
export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

/** `namespace/name`, or `name` for cluster-scoped objects: the key of an object among those of its kind. */
export type ObjectKey = string;

export function keyOf(object: { readonly metadata: { readonly name: string; readonly namespace?: string | undefined } }): ObjectKey {
  return object.metadata.namespace === undefined ? object.metadata.name : `${object.metadata.namespace}/${object.metadata.name}`;
}
