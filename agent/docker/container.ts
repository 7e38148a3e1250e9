import { z } from "zod";

/** What a container is, as far as we read it: `GET /containers/ID/json` of the Docker Engine API (1.41). */
const Binding = z.looseObject({ HostIp: z.string().default(""), HostPort: z.string().default("") });
const Attachment = z.looseObject({
  NetworkID: z.string().default(""),
  IPAddress: z.string().default(""),
  GlobalIPv6Address: z.string().default(""),
});
/** Engines write null for an empty map. */
const mapOf = <Value extends z.ZodType>(value: Value) =>
  z
    .record(z.string(), value)
    .nullish()
    .transform((map) => map ?? {});

export const Container = z.looseObject({
  Id: z.string().regex(/^[0-9a-f]{12,64}$/),
  /** With a slash before it. */
  Name: z.string().transform((name) => name.replace(/^\//, "")),
  State: z.looseObject({
    Running: z.boolean(),
    Paused: z.boolean().default(false),
    Restarting: z.boolean().default(false),
    /** Another one after each start. */
    StartedAt: z.string().default(""),
    /** Absent, or `none`, where there is no HEALTHCHECK. */
    Health: z.looseObject({ Status: z.string() }).nullish(),
  }),
  Config: z.looseObject({ Labels: mapOf(z.string()), StopSignal: z.string().optional() }),
  HostConfig: z.looseObject({ NetworkMode: z.string().default("default") }),
  NetworkSettings: z.looseObject({
    /** `80/tcp` → where it is published; null = exposed only. */
    Ports: mapOf(z.array(Binding).nullable()),
    /** By the name of the network. */
    Networks: mapOf(Attachment),
  }),
});
export type Container = z.output<typeof Container>;

/** One of `GET /networks`. */
export const Network = z.looseObject({
  Id: z.string(),
  Name: z.string(),
  Driver: z.string(),
  Internal: z.boolean().default(false),
  IPAM: z
    .looseObject({
      Config: z
        .array(z.looseObject({ Subnet: z.string().default("") }))
        .nullish()
        .transform((list) => list ?? []),
    })
    .default({ Config: [] }),
  Options: mapOf(z.string()),
});
export type Network = z.output<typeof Network>;

/** A line of `GET /events`. */
export const EngineEvent = z.looseObject({
  Type: z.string(),
  Action: z.string(),
  Actor: z.looseObject({ ID: z.string(), Attributes: mapOf(z.string()) }),
});
export type EngineEvent = z.output<typeof EngineEvent>;

/** What is told of a container without asking: shown to people, in logs and problems. */
export function shortId({ Id }: Pick<Container, "Id">): string {
  return Id.slice(0, 12);
}
