import { z } from "zod";

/** What the agent says of a name at /dns/explain; `fairlead dns lookup` reads it. */

export const ExplainedObject = z.object({
  kind: z.enum(["Service", "EndpointSlice", "Namespace", "Node", "fleet"]),
  name: z.string(),
  exists: z.boolean(),
  /** Of its last change. */
  revision: z.int().optional(),
  endpoints: z.int().optional(),
});
export type ExplainedObject = z.output<typeof ExplainedObject>;

export const Explanation = z.object({
  name: z.string(),
  /** undefined = not a name of the fleet. */
  zone: z.string().optional(),
  /** Of the whole state that this host knows. */
  revision: z.int(),
  objects: z.array(ExplainedObject),
  /** What these objects make of this very name. */
  records: z.array(z.string()),
  note: z.string().optional(),
});
export type Explanation = z.output<typeof Explanation>;

export const ExplainReply = z.object({
  node: z.string(),
  explanation: Explanation,
  /** How long ago the server was last followed; 0 = it is being followed. */
  stateAgeMs: z.number(),
  /** Whom names of others are asked of. */
  upstreams: z.array(z.string()),
  /** The addresses of the node that was asked for, as this host knows them. */
  nodeAddresses: z.array(z.string()).optional(),
});
export type ExplainReply = z.output<typeof ExplainReply>;

const MAX_NAME = 253;

/** As it may stand in a question: lower case, no dot at the end. undefined = no name that DNS can carry. */
export function nameToExplain(text: string): string | undefined {
  const name = text.replace(/\.$/, "").toLowerCase();
  return name.length <= MAX_NAME && /^[!-~]+$/.test(name) && name.split(".").every((label) => label.length >= 1 && label.length <= 63)
    ? name
    : undefined;
}
