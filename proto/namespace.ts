import { z } from "zod";
import { API_VERSION_TEXT, Condition, DnsLabel, KIND_TEXT, metaWith } from "./meta.ts";

/** Namespace, core/v1. */
export const Namespace = z
  .looseObject({
    apiVersion: z.literal("v1").describe(API_VERSION_TEXT),
    kind: z.literal("Namespace").describe(KIND_TEXT),
    metadata: metaWith(DnsLabel),
    spec: z
      .looseObject({
        finalizers: z.array(z.string()).optional().describe("Set by the server: kubernetes, until all that is in the namespace is gone."),
      })
      .default({})
      .describe("What holds a deleted namespace."),
    status: z
      .looseObject({
        phase: z.string().optional().describe("Set by the server: Active, or Terminating while what is in it goes."),
        conditions: z.array(Condition).optional().describe("What tools found of the namespace. Kept, not acted on."),
      })
      .default({})
      .describe("What is so; written at the path /status."),
  })
  .describe("A space of names for Services and Workloads; deleted with all that is in it.");
export type Namespace = z.output<typeof Namespace>;

export const DEFAULT_NAMESPACE = "default";
/** Where the DNS service lives, as in Kubernetes. */
export const SYSTEM_NAMESPACE = "kube-system";
