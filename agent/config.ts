import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { ClusterFacts } from "#proto/agents.ts";
import type { Connection } from "#proto/client-http.ts";
import { AppError, describeError } from "#proto/error.ts";
import { DnsSubdomain } from "#proto/meta.ts";
import { causesOf, describeCauses } from "#proto/parse.ts";
import { isAllowedRange } from "./dns/allowed-range.ts";
import { isStubDomain } from "./dns/stub-domains.ts";
import { writePrivateFile } from "./private-file.ts";

/** What joining leaves on the host: a credential in kubeconfig form, and beside it what the agent must know before it reaches the server. */

export const DEFAULT_CREDENTIALS = "/etc/fairlead/node.yaml";
export const DEFAULT_STATE_DIR = "/var/lib/fairlead/agent";
export const DEFAULT_WORKLOADS_DIR = "/etc/fairlead/workloads.d";

const Kubeconfig = z.object({
  clusters: z.array(z.object({ cluster: z.object({ server: z.string(), "certificate-authority-data": z.base64().optional() }) })).min(1),
  users: z.array(z.object({ user: z.object({ token: z.string().min(1) }) })).min(1),
});

/** What was agreed when this host joined. */
export const Membership = z.object({
  node: DnsSubdomain,
  stateDir: z.string().default(DEFAULT_STATE_DIR),
  /** Only these are this host's, where the operator has named some. */
  addresses: z.array(z.string()).default([]),
  /** The operator's, like `corp.example=10.0.0.1,10.0.0.2:5353`: who is asked for the names of a domain. Joining again leaves them. */
  dnsStubs: z.array(z.string().refine(isStubDomain, { error: "want DOMAIN=ADDRESS[:PORT],…" })).default([]),
  /** The operator's, like `192.168.7.0/24`: who may ask DNS besides this host's own networks. Joining again leaves them. */
  dnsAllow: z.array(z.string().refine(isAllowedRange, { error: "want ADDRESS/PREFIX, of your own networks only" })).default([]),
  /** As it was then; the server says so again when it can be reached. */
  cluster: ClusterFacts,
});
export type Membership = z.output<typeof Membership>;

/** Who this host is, and how it reaches the server. */
export interface Joined {
  readonly connection: Required<Connection>;
  readonly membership: Membership;
}

export function renderKubeconfig({ server, ca = "", token = "" }: Connection, node: string): string {
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "fairlead", cluster: { server, "certificate-authority-data": Buffer.from(ca).toString("base64") } }],
    users: [{ name: `node-${node}`, user: { token } }],
    contexts: [{ name: "fairlead", context: { cluster: "fairlead", user: `node-${node}` } }],
    "current-context": "fairlead",
  });
}

/** Usage (exit 2) when this host has not joined; Forbidden (exit 5) to all but root. */
export async function readMembership(credentialsFile: string): Promise<Joined> {
  const [{ clusters, users }, membership] = await Promise.all([
    readYaml(credentialsFile, Kubeconfig),
    readYaml(membershipFile(credentialsFile), Membership),
  ]);
  const cluster = clusters[0]?.cluster;
  const user = users[0]?.user;
  const ca = Buffer.from(cluster?.["certificate-authority-data"] ?? "", "base64").toString("utf8");
  return { connection: { server: cluster?.server ?? "", ca, token: user?.token ?? "" }, membership };
}

export async function writeMembership(credentialsFile: string, connection: Connection, membership: Membership): Promise<void> {
  await writePrivateFile(membershipFile(credentialsFile), stringify(membership));
  await writePrivateFile(credentialsFile, renderKubeconfig(connection, membership.node));
}

/** Where this host's agent keeps what it knows, also when the credential is damaged. */
export async function stateDirOf(credentialsFile: string): Promise<string> {
  const membership = await readYaml(membershipFile(credentialsFile), Membership).catch(() => undefined);
  return membership?.stateDir ?? DEFAULT_STATE_DIR;
}

/** What the operator has written into agent.yaml, which joining again keeps. */
export async function operatorsOwn(credentialsFile: string): Promise<Pick<Membership, "dnsStubs" | "dnsAllow">> {
  const membership = await readYaml(membershipFile(credentialsFile), Membership).catch(() => undefined);
  return { dnsStubs: membership?.dnsStubs ?? [], dnsAllow: membership?.dnsAllow ?? [] };
}

/** Writes down which state folder the agent uses, so that `cleanup` finds it without being told. */
export async function withStateDir(
  membership: Membership,
  { stateDir, credentialsFile }: { readonly stateDir: string; readonly credentialsFile: string },
): Promise<Membership> {
  if (membership.stateDir === stateDir) return membership;
  const next = { ...membership, stateDir };
  await writePrivateFile(membershipFile(credentialsFile), stringify(next));
  return next;
}

/** agent.yaml beside the credential. */
export function membershipFile(credentialsFile: string): string {
  return join(dirname(credentialsFile), "agent.yaml");
}

/** Whom the host asked for names before it was told to ask the agent. */
export function upstreamsFile(stateDir: string): string {
  return join(stateDir, "upstreams.json");
}

async function readYaml<Schema extends z.ZodType>(file: string, schema: Schema): Promise<z.output<Schema>> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    if (isForbidden(cause)) throw new AppError("Forbidden", `only root may read ${file}`, { cause, hint: "run it with sudo" });
    throw new AppError("Usage", `this host has not joined a fleet: ${file} cannot be read`, {
      cause,
      hint: "run `fairlead agent join https://SERVER:7443 --token-file FILE` first, as root; `fairlead token create` on the server makes a token",
    });
  }
  const damaged = (why: string): AppError => new AppError("Usage", `${file} is damaged: ${why}`, { hint: "join again with a new token" });
  let read: unknown;
  try {
    read = parse(text);
  } catch (error) {
    throw damaged(describeError(error).split("\n")[0] ?? ""); // what follows quotes the file, and with it the credential
  }
  const { data, error } = schema.safeParse(read);
  if (error) throw damaged(describeCauses(causesOf(error, withoutValues(read))));
  return data;
}

function isForbidden(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "EACCES" || error.code === "EPERM");
}

/** For messages: the shape alone. What stands in a credential is said nowhere. */
function withoutValues(read: unknown): unknown {
  return JSON.parse(JSON.stringify(read ?? null, (_key, value: unknown) => (typeof value === "object" ? value : "…"))) as unknown;
}
