import type { Logger } from "pino";
import { backoffMs, pause } from "#proto/backoff.ts";
import type { Client } from "#proto/client.ts";
import { describeError } from "#proto/error.ts";
import { announce } from "./announce.ts";
import type { NodeInfo } from "./facts.ts";
import { isSameNetwork, type NodeNetwork } from "./network.ts";

export interface NodeObjectDeps {
  readonly client: Pick<Client, "patch">;
  readonly nodeName: string;
  readonly hostName: string;
  readonly nodeInfo: NodeInfo;
  /** Looks at the host. */
  readonly look: (signal: AbortSignal) => Promise<NodeNetwork>;
  /** Networks of containers to which other hosts shall have a route; undefined = not known yet. */
  readonly routed: () => readonly string[] | undefined;
  /** Which of these the server refused, and why. */
  readonly onRefused: (refused: ReadonlyMap<string, string>) => void;
  /** Another host's Node has changed: what was refused may be free now. */
  readonly othersChanged: () => number;
  /** What the kernel says of addresses without a program being started; when it is other than before, it is looked at once. */
  readonly glance: () => string;
  /** The host's networks are others than before, and not only in another order. */
  readonly onChange: (network: NodeNetwork) => void;
  /** What was found before this loop began. */
  readonly known: NodeNetwork;
  /** What keeps the server from knowing it; undefined = nothing any more. */
  readonly onFailure: (error: unknown) => void;
  readonly log: Pick<Logger, "info" | "warn">;
}

const LOOK_EVERY_MS = 30_000;
const GLANCE_EVERY_MS = 1000;

/** Keeps the server's Node object at what is true of this host, and tells the others here when that changes (Docker made a bridge). */
export async function nodeObjectLoop(deps: NodeObjectDeps, signal: AbortSignal): Promise<void> {
  let network = deps.known;
  let told: string | undefined;
  let refused: ReadonlyMap<string, string> = new Map();
  const glance = (): string => `${deps.glance()} ${deps.routed()?.join() ?? ""}`;
  for (let failures = 0; !signal.aborted;) {
    // What changes while the server is being told was not told.
    const [seen, others] = [glance(), deps.othersChanged()];
    try {
      const found = await deps.look(signal);
      const isOther = !isSameNetwork(found, network);
      network = found;
      if (isOther) {
        deps.log.info({ ...network }, "this host's networks changed");
        deps.onChange(network);
      }
      const routed = deps.routed();
      const news = JSON.stringify([network, routed]);
      // What was refused is asked for again: the host that has it may leave.
      if (network.addresses.length > 0 && (news !== told || refused.size > 0)) {
        refused = await tell(deps, { network, routed }, signal);
        told = news;
      }
      failures = 0;
      deps.onFailure(undefined);
    } catch (error) {
      if (isOver(signal)) return;
      deps.onFailure(error);
      if (failures++ === 0) deps.log.warn({ error: describeError(error) }, "cannot tell the server about this host; trying on");
    }
    const isOther = (): boolean => glance() !== seen || (refused.size > 0 && deps.othersChanged() !== others);
    await pauseUnless(isOther, failures === 0 ? LOOK_EVERY_MS : backoffMs(failures, Math.random(), { maxMs: LOOK_EVERY_MS }), signal);
  }
}

/** A container on a network that was made a moment ago asks for names at once, and until the network is known it is a stranger. */
async function pauseUnless(isOther: () => boolean, ms: number, signal: AbortSignal): Promise<void> {
  const end = performance.now() + ms;
  do await pause(Math.min(GLANCE_EVERY_MS, ms), signal);
  while (performance.now() < end && !isOther() && !isOver(signal));
}

/** Returns what was refused of what others shall have a route to. */
async function tell(
  { client, nodeName, hostName, nodeInfo, onRefused, log }: NodeObjectDeps,
  { network, routed }: { readonly network: NodeNetwork; readonly routed: readonly string[] | undefined },
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const addresses = [
    ...network.addresses.map((address) => ({ type: "InternalIP", address })),
    ...(hostName === "" ? [] : [{ type: "Hostname", address: hostName }]),
  ];
  await client.patch("Node", nodeName, { status: { addresses, nodeInfo } }, { subresource: "status", signal });
  const all = await announce({ client, nodeName }, { behind: network.containerCidrs, routed }, signal);
  const unrouted = new Map([...all].filter(([cidr]) => routed?.includes(cidr) !== true));
  if (unrouted.size > 0)
    log.info(
      { refused: [...unrouted.keys()] },
      "containers in a prefix that is behind another host too are reached by published ports only",
    );
  const refused = new Map([...all].filter(([cidr]) => routed?.includes(cidr) === true));
  onRefused(refused);
  return refused;
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
