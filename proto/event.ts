import { z } from "zod";
import { DnsSubdomain, metaWith } from "./meta.ts";

/** Event, core/v1: what happened to an object, for people. Kept for an hour; repeated ones are counted, not repeated. */
export const ObjectReference = z.looseObject({
  apiVersion: z.string().optional(),
  kind: z.string().optional(),
  namespace: z.string().optional(),
  name: z.string().optional(),
  uid: z.string().optional(),
});

export const Event = z.looseObject({
  apiVersion: z.literal("v1"),
  kind: z.literal("Event"),
  metadata: metaWith(DnsSubdomain),
  involvedObject: ObjectReference,
  /** One CamelCase word a program can match. */
  reason: z.string().max(128).default(""),
  message: z.string().max(1024).default(""),
  type: z.enum(["Normal", "Warning"]).default("Normal"),
  source: z.looseObject({ component: z.string().optional(), host: z.string().optional() }).default({}),
  firstTimestamp: z.string().nullable().optional(),
  lastTimestamp: z.string().nullable().optional(),
  count: z.int().min(1).optional(),
});
export type Event = z.output<typeof Event>;
export type EventInput = z.input<typeof Event>;
