import { z } from "zod";
import { DnsSubdomain, Labels } from "./meta.ts";
import { NodeAddress } from "./node.ts";

/**
 * The agents' protocol, under /apis/fairlead.dev/v1. How a host learns the state and follows it:
 *
 *   1. GET snapshot, page by page: every object of the kinds that hosts need, and the revision R at which the first page was read.
 *   2. GET changes?since=R: waits until there is something newer, then answers all of it (up to a limit), in order of revision.
 *      A page of the snapshot may hold an object newer than R; its changes come again, and are known by their resourceVersion.
 *   3. The next poll says in `applied` which revision the host's kernel holds: that is the receipt.
 *
 * 410 Expired = the history after `since` is gone, or is not the history that `epoch` names: start again at 1.
 */

/** What hosts need to know to do their part; the same for every node. */
export const ClusterFacts = z.object({
  /** `cluster.local`: the domain of all names. */
  domain: DnsSubdomain,
  /** Further domains, with the same names below them; reverse names and receipts are of the first. */
  moreDomains: z.array(DnsSubdomain).max(8).optional(),
  /** Ranges of the virtual IPs: one of each family at most, IPv4 first. */
  serviceCidrs: z.array(z.string()).min(1).max(2),
  /** Virtual IPs of the DNS service, one for each range. */
  dnsIps: z.array(z.string()).min(1).max(2),
  nodePortRange: z.object({ from: z.int(), to: z.int() }),
  /** Hosts renew their lease this often. */
  heartbeatIntervalMs: z.int().min(50),
  /** A host not heard of for so long is NotReady. */
  nodeTimeoutMs: z.int().min(100),
});
export type ClusterFacts = z.output<typeof ClusterFacts>;

/** A few letters that are others when the facts are: FNV-1a over their text. */
export function tagOfFacts(facts: ClusterFacts): string {
  let hash = 0x811c9dc5;
  for (const character of JSON.stringify(ClusterFacts.parse(facts))) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  return (hash >>> 0).toString(36);
}

/** The kinds that hosts follow. Namespaces matter to DNS (NXDOMAIN or NODATA), Nodes to addresses and zones. */
export const FOLLOWED_KINDS = ["Namespace", "Node", "Service", "EndpointSlice", "Workload"] as const;
export type FollowedKind = (typeof FOLLOWED_KINDS)[number];

export const SnapshotQuery = z.object({
  limit: z.coerce.number().int().min(1).max(5000).default(1000),
  continue: z.string().max(1024).optional(),
});

export const SnapshotPage = z.object({
  /** Names the history that revisions count in; changes when the server starts. */
  epoch: z.string(),
  /** The revision when the first page was read; follow changes from here. */
  revision: z.int().min(0),
  cluster: ClusterFacts,
  /** Whole objects; each is validated by the schema of its kind where it is used. */
  items: z.array(z.unknown()),
  /** Opaque; present while there are more pages. */
  continue: z.string().optional(),
});
export type SnapshotPage = z.output<typeof SnapshotPage>;

export const ChangesQuery = z.object({
  since: z.coerce.number().int().min(0),
  epoch: z.string().max(64),
  /** tagOfFacts of what the host goes by. Others here: Expired, so that it reads the snapshot, and with it the facts. */
  facts: z.string().max(16).optional(),
  /** The revision that this host's kernel and DNS hold. Taken as a receipt only from the node itself. */
  applied: z.coerce.number().int().min(0).optional(),
  /** Answer with no changes after so long. */
  timeoutMs: z.coerce.number().int().min(0).max(120_000).default(30_000),
  limit: z.coerce.number().int().min(1).max(5000).default(1000),
});
export type ChangesQuery = z.output<typeof ChangesQuery>;

export const Change = z.object({
  revision: z.int().min(1),
  type: z.enum(["PUT", "DELETE"]),
  kind: z.string(),
  /** PUT: the whole object. DELETE: its last state, with the revision of its deletion as resourceVersion. */
  object: z.unknown(),
});
export type Change = z.output<typeof Change>;

export const ChangesReply = z.object({
  epoch: z.string(),
  /** Everything up to here is in this reply or was before; poll again from here. */
  revision: z.int().min(0),
  changes: z.array(Change),
});
export type ChangesReply = z.output<typeof ChangesReply>;

/** POST nodes/NAME/heartbeat: renews the lease. Never written to disk. */
export const Heartbeat = z.object({
  applied: z.int().min(0).optional(),
  epoch: z.string().max(64).optional(),
  /** Age in ms of what the host holds, when it could not reach the server. */
  stateAgeMs: z.int().min(0).optional(),
  /** What is wrong on the host, for `describe node`; at most a few lines. */
  problems: z.array(z.string().max(512)).max(16).default([]),
});
export type Heartbeat = z.output<typeof Heartbeat>;
export const HeartbeatReply = z.object({ nextInMs: z.int().min(1) });

/** POST join, authorised by a join token as bearer. */
export const JoinRequest = z.object({
  name: DnsSubdomain,
  /** /etc/machine-id or the like: tells a host that joins again from another host with its name. */
  machineId: z.string().min(8).max(128),
  addresses: z.array(NodeAddress).min(1).max(64),
  podCIDRs: z.array(z.string()).max(64).default([]),
  labels: Labels.default({}),
});
export type JoinRequest = z.output<typeof JoinRequest>;
export const JoinReply = z.object({
  node: z.string(),
  /** The node's own credential, shown once. */
  token: z.string(),
  /** It had one before, which ends with this. */
  replaced: z.boolean().default(false),
  cluster: ClusterFacts,
});
export type JoinReply = z.output<typeof JoinReply>;

/** GET receipts?revision=R&timeoutMs=T: waits until all that follows from R is live on every Ready node. */
export const ReceiptsReply = z.object({
  /** The revision waited for: R, or the later one of what the controllers made of it. */
  revision: z.int(),
  done: z.boolean(),
  nodes: z.array(
    z.object({
      name: z.string(),
      ready: z.boolean(),
      applied: z.int().optional(),
      /** ms from commit to receipt */ tookMs: z.number().optional(),
    }),
  ),
});
export type ReceiptsReply = z.output<typeof ReceiptsReply>;

/** /apis/fairlead.dev/v1/jointokens */
export const JoinTokenRequest = z.object({
  ttlSeconds: z
    .int()
    .min(1)
    .max(30 * 24 * 3600)
    .default(24 * 3600),
  /** How many hosts may join with it. */
  uses: z.int().min(1).max(10_000).default(1),
  description: z.string().max(256).default(""),
});
export type JoinTokenRequest = z.output<typeof JoinTokenRequest>;
export const JoinTokenInfo = z.object({
  id: z.string(),
  description: z.string(),
  createdAt: z.string(),
  expiresAt: z.string(),
  usesLeft: z.int(),
});
export type JoinTokenInfo = z.output<typeof JoinTokenInfo>;
/** The whole token is in the answer to its creation and nowhere else. */
export const JoinTokenCreated = JoinTokenInfo.extend({ token: z.string() });
export type JoinTokenCreated = z.output<typeof JoinTokenCreated>;

/** GET status: the fleet at a glance. */
export const FleetStatus = z.object({
  version: z.string(),
  epoch: z.string(),
  revision: z.int(),
  startedAt: z.string(),
  cluster: ClusterFacts,
  counts: z.record(z.string(), z.int()),
  /** Services with a selector that leads to nobody who is ready: how many, and the first of them by name. */
  idleServices: z.object({ count: z.int(), first: z.array(z.string()) }).optional(),
  nodes: z.array(
    z.object({
      name: z.string(),
      ready: z.boolean(),
      /** Silent, but its endpoints are kept: too many hosts fell silent at once. */
      kept: z.boolean().optional(),
      addresses: z.array(z.string()),
      applied: z.int().optional(),
      behind: z.int().optional(),
      lastHeardMs: z.int().optional(),
      problems: z.array(z.string()),
    }),
  ),
});
export type FleetStatus = z.output<typeof FleetStatus>;
