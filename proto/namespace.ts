import { z } from "zod";
import { DnsLabel, metaWith } from "./meta.ts";

/** Namespace, core/v1. */
export const Namespace = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Namespace"),
  metadata: metaWith(DnsLabel),
  spec: z.looseObject({ finalizers: z.array(z.string()).optional() }).default({}),
  status: z.looseObject({ phase: z.string().optional() }).default({}),
});
export type Namespace = z.output<typeof Namespace>;

export const DEFAULT_NAMESPACE = "default";
/** Where the DNS service lives, as in Kubernetes. */
export const SYSTEM_NAMESPACE = "kube-system";
