import { MASS_FAILURE_BRAKE, type Node, type NodeCondition } from "#proto/node.ts";

/**
 * When a silent host counts as dead. Pure.
 *
 * One host that goes silent has died, and its endpoints leave. Many that go silent at once have not: the server's own network has failed, and
 * taking them out would turn that into an outage of everything. So there is a brake: while more than a third of the hosts, and more than one,
 * are silent together, or no host would be left, those that are silent keep their endpoints.
 */

/** ready: heard of. kept: silent, but the brake keeps its endpoints. lost: silent, and out of rotation. */
export type Standing = "ready" | "kept" | "lost";

export const READY_REASONS = { ready: "HeartbeatReceived", kept: MASS_FAILURE_BRAKE, lost: "HeartbeatLost" } as const;

export interface LeaseRules {
  readonly nodeTimeoutMs: number;
  readonly heartbeatIntervalMs: number;
}

export interface Lease {
  readonly name: string;
  readonly standing: Standing;
  /** Since the last heartbeat, or since this server started if there was none. */
  readonly silentMs: number;
  /** Whether this server has heard of it at all. */
  readonly heard: boolean;
}

export interface Judgement {
  /** Only of those that change. */
  readonly verdicts: ReadonlyMap<string, Standing>;
  readonly silent: number;
  readonly total: number;
  readonly braking: boolean;
}

export function judge(leases: readonly Lease[], rules: LeaseRules): Judgement {
  const { nodeTimeoutMs } = rules;
  const suspectMs = suspectAfterMs(rules);
  const isBack = ({ silentMs, heard }: Lease): boolean => heard && silentMs < nodeTimeoutMs;
  const serving = leases.filter((lease) => lease.standing !== "lost" || isBack(lease));
  const suspects = serving.filter(({ silentMs }) => silentMs >= suspectMs).length;
  // Those that went silent just before, and are already out, belong to the same failure.
  const justLost = leases.filter(
    ({ standing, heard, silentMs }) => standing === "lost" && heard && silentMs >= nodeTimeoutMs && silentMs < 2 * nodeTimeoutMs,
  ).length;
  const silent = suspects + justLost;
  const total = serving.length + justLost;
  const braking = (silent > 1 && silent * 3 > total) || suspects === serving.length;

  const verdicts = new Map<string, Standing>();
  for (const lease of leases) {
    const { name, standing } = lease;
    const next = isBack(lease) ? "ready" : lease.silentMs < nodeTimeoutMs || standing === "lost" ? standing : braking ? "kept" : "lost";
    if (next !== standing) verdicts.set(name, next);
  }
  return { verdicts, silent, total, braking: braking && serving.some(({ silentMs }) => silentMs >= nodeTimeoutMs) };
}

/**
 * Hosts that fail together run out one by one, as far apart as their heartbeats. So when the first one runs out, all count that have missed two
 * heartbeats: before the brake could notice, a third of the fleet would be gone.
 */
export function suspectAfterMs({ nodeTimeoutMs, heartbeatIntervalMs }: LeaseRules): number {
  return Math.max(nodeTimeoutMs - 2 * heartbeatIntervalMs, nodeTimeoutMs / 2);
}

/** When, after `silentMs` of silence, another look may find something else. */
export function nextLookMs(silentMs: number, standing: Standing, { nodeTimeoutMs }: LeaseRules): number | undefined {
  if (silentMs < nodeTimeoutMs) return nodeTimeoutMs - silentMs;
  return standing === "lost" && silentMs < 2 * nodeTimeoutMs ? 2 * nodeTimeoutMs - silentMs : undefined;
}

/** What the stored Node says. */
export function standingOf(node: Node): Standing {
  const ready = node.status.conditions.find(({ type }) => type === "Ready");
  if (ready?.status === "True") return "ready";
  return ready?.reason === READY_REASONS.kept ? "kept" : "lost";
}

export function readyCondition(standing: Standing, { silent, total }: { silent: number; total: number }, at: string): NodeCondition {
  const messages: Readonly<Record<Standing, string>> = {
    ready: "the host sends heartbeats",
    kept: `no heartbeat, but ${silent} of ${total} hosts are silent: its endpoints are kept, as the failure may be the server's own`,
    lost: "no heartbeat: its endpoints are out of rotation",
  };
  return {
    type: "Ready",
    status: standing === "ready" ? "True" : "Unknown",
    reason: READY_REASONS[standing],
    message: messages[standing],
    lastTransitionTime: at,
  };
}
