import { z } from "zod";
import { API_VERSION_TEXT, DnsSubdomain, KIND_TEXT, metaWith } from "./meta.ts";

/** Event, core/v1: what happened to an object, for people. Kept for an hour; repeated ones are counted, not repeated. */
export const ObjectReference = z.looseObject({
  apiVersion: z.string().optional().describe("Its apiVersion."),
  kind: z.string().optional().describe("Its kind."),
  namespace: z.string().optional().describe("Its namespace; absent for kinds that are in none."),
  name: z.string().optional().describe("Its name."),
  uid: z.string().optional().describe("Its uid: an object made again under the name is another one."),
  resourceVersion: z.string().optional().describe("Its resourceVersion at that time."),
  fieldPath: z.string().optional().describe("The part of it that is meant, as spec.ports[0]."),
});

export const Event = z
  .looseObject({
    apiVersion: z.literal("v1").describe(API_VERSION_TEXT),
    kind: z.literal("Event").describe(KIND_TEXT),
    metadata: metaWith(DnsSubdomain),
    involvedObject: ObjectReference.describe("The object that it is about."),
    reason: z.string().max(128).default("").describe("What happened, one CamelCase word for programs; 128 characters at most."),
    message: z.string().max(1024).default("").describe("What happened, for people; 1024 characters at most."),
    type: z.enum(["Normal", "Warning"]).default("Normal").describe("Normal or Warning. Default: Normal."),
    source: z
      .looseObject({
        component: z.string().optional().describe("The program that tells it."),
        host: z.string().optional().describe("The Node that tells it; of a host's own credential the server sets it."),
      })
      .default({})
      .describe("Who tells it."),
    firstTimestamp: z.string().nullable().optional().describe("When it happened first, RFC 3339."),
    lastTimestamp: z.string().nullable().optional().describe("When it happened last, RFC 3339."),
    count: z.int().min(1).optional().describe("How often it happened."),
    eventTime: z.string().nullable().optional().describe("When it happened, in writings of events.k8s.io."),
    series: z
      .looseObject({
        count: z.int().optional().describe("How often so far."),
        lastObservedTime: z.string().nullable().optional().describe("When last, RFC 3339."),
      })
      .nullable()
      .optional()
      .describe("How often it happened, in writings of events.k8s.io."),
    action: z.string().optional().describe("What was done or failed. Kept, not acted on."),
    related: ObjectReference.optional().describe("Another object that has to do with it. Kept, not acted on."),
    reportingComponent: z.string().optional().describe("The program that tells it, in writings of events.k8s.io."),
    reportingInstance: z.string().optional().describe("Which one of those programs."),
  })
  .describe("Something that happened to an object, for people. Kept for an hour; what happens again is counted, not repeated.");
export type Event = z.output<typeof Event>;
export type EventInput = z.input<typeof Event>;
