import { z } from "zod";

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

export const ObjectMeta = z.looseObject({
  name: z.string(),
  generateName: z.string().optional(),
  namespace: DnsLabel.optional(),
  uid: z.string().optional(),
  /** The store's revision at the object's last change, in decimal. */
  resourceVersion: z.string().optional(),
  /** Rises by one with each change of spec. */
  generation: z.int().optional(),
  /** RFC 3339, seconds. */
  creationTimestamp: z.string().optional(),
  deletionTimestamp: z.string().optional(),
  deletionGracePeriodSeconds: z.int().optional(),
  labels: Labels.optional(),
  annotations: Annotations.optional(),
  finalizers: z.array(z.string()).optional(),
  managedFields: z.array(z.looseObject({})).optional(),
});
export type ObjectMeta = z.output<typeof ObjectMeta>;

/** ObjectMeta whose name follows `name`. */
export function metaWith<Name extends z.ZodType<string>>(name: Name) {
  return ObjectMeta.extend({ name });
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
