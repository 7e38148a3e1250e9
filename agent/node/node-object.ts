import type { Logger } from "pino";
import { backoffMs, pause } from "#proto/backoff.ts";
import type { Client } from "#proto/client.ts";
import { describeError } from "#proto/error.ts";
import { withoutRefused } from "./refused-cidrs.ts";
import type { NodeInfo } from "./facts.ts";
import { isSameNetwork, type NodeNetwork } from "./network.ts";

export interface NodeObjectDeps {
  readonly client: Pick<Client, "patch">;
  readonly nodeName: string;
  readonly hostName: string;
  readonly nodeInfo: NodeInfo;
  /** Looks at the host. */
  readonly look: (signal: AbortSignal) => Promise<NodeNetwork>;
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
  for (let failures = 0; !signal.aborted;) {
    try {
      const found = await deps.look(signal);
      const isOther = !isSameNetwork(found, network);
      network = found;
      if (isOther) {
        deps.log.info({ ...network }, "this host's networks changed");
        deps.onChange(network);
      }
      if (network.addresses.length > 0 && JSON.stringify(network) !== told) await tell(deps, network, signal);
      told = JSON.stringify(network);
      failures = 0;
      deps.onFailure(undefined);
    } catch (error) {
      if (isOver(signal)) return;
      deps.onFailure(error);
      if (failures++ === 0) deps.log.warn({ error: describeError(error) }, "cannot tell the server about this host; trying on");
    }
    await pauseUnlessOther(deps, failures === 0 ? LOOK_EVERY_MS : backoffMs(failures, Math.random(), { maxMs: LOOK_EVERY_MS }), signal);
  }
}

/** A container on a network that was made a moment ago asks for names at once, and until the network is known it is a stranger. */
async function pauseUnlessOther({ glance }: NodeObjectDeps, ms: number, signal: AbortSignal): Promise<void> {
  const before = glance();
  for (const end = performance.now() + ms; performance.now() < end && glance() === before && !isOver(signal);)
    await pause(Math.min(GLANCE_EVERY_MS, ms), signal);
}

async function tell(
  { client, nodeName, hostName, nodeInfo, log }: NodeObjectDeps,
  network: NodeNetwork,
  signal: AbortSignal,
): Promise<void> {
  const addresses = [
    ...network.addresses.map((address) => ({ type: "InternalIP", address })),
    ...(hostName === "" ? [] : [{ type: "Hostname", address: hostName }]),
  ];
  await client.patch("Node", nodeName, { status: { addresses, nodeInfo } }, { subresource: "status", signal });
  const patchCidrs = (podCIDRs: readonly string[]): Promise<unknown> => client.patch("Node", nodeName, { spec: { podCIDRs } }, { signal });
  await patchCidrs(network.containerCidrs).catch((error: unknown) => {
    const others = withoutRefused(network.containerCidrs, error);
    if (!others) throw error;
    log.info(
      { refused: network.containerCidrs, kept: others },
      "containers in a prefix that is behind another host too are reached by published ports only",
    );
    return patchCidrs(others);
  });
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
