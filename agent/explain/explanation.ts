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

/** Who answers for a name that is not ours. */
export const WhoIsAsked = z.object({
  /** That they are asked for: this name, or the one that an alias of ours leads to. */
  name: z.string(),
  /** The stub domain that says so; absent = they are asked for all other names. */
  stub: z.string().optional(),
  /** With the port where it is not 53. */
  servers: z.array(z.string()),
  /** Of a kind that nobody outside is asked for. */
  isKeptInside: z.boolean(),
});
export type WhoIsAsked = z.output<typeof WhoIsAsked>;

export const Explanation = z.object({
  name: z.string(),
  /** One of the domains, or a reverse zone of the virtual IPs; undefined = not a name of the fleet. */
  zone: z.string().optional(),
  /** Of the whole state that this host knows. */
  revision: z.int(),
  objects: z.array(ExplainedObject),
  /** What these objects make of this very name. */
  records: z.array(z.string()),
  note: z.string().optional(),
  /** Absent where nobody else is needed; older agents never say it. */
  asked: WhoIsAsked.optional(),
});
export type Explanation = z.output<typeof Explanation>;

export const ExplainReply = z.object({
  node: z.string(),
  explanation: Explanation,
  /** How long ago the server was last followed; 0 = it is being followed. */
  stateAgeMs: z.number(),
  /** Whom names of others are asked of, with the port where it is not 53. */
  upstreams: z.array(z.string()),
  stubs: z.array(z.object({ suffix: z.string(), servers: z.array(z.string()) })).default([]),
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
