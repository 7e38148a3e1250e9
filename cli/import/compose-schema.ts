import { z } from "zod";

/** What we read of a Compose file (compose-spec.io); the rest is Compose's own affair. */
const Text = z.union([z.string(), z.number()]).transform(String);
const Port = z.union([
  Text,
  z.looseObject({ target: Text, published: Text.optional(), protocol: z.string().default("tcp"), name: z.string().optional() }),
]);

export const ComposeService = z.looseObject({
  ports: z.array(Port).default([]),
  expose: z.array(Text).default([]),
  scale: Text.optional(),
  healthcheck: z.looseObject({ disable: z.boolean().optional() }).optional(),
  deploy: z.looseObject({ replicas: Text.optional(), endpoint_mode: z.string().optional() }).nullish(),
  networks: z.unknown().optional(),
  network_mode: z.string().optional(),
  profiles: z.array(z.string()).optional(),
  extends: z.union([z.string(), z.looseObject({ service: z.string(), file: z.string().optional() })]).optional(),
  container_name: z.string().optional(),
});
export type ComposeService = z.output<typeof ComposeService>;

export const ComposeFile = z.looseObject({
  services: z.record(
    z.string(),
    ComposeService.nullable().transform((service) => service ?? ComposeService.parse({})),
  ),
  include: z.unknown().optional(),
});
