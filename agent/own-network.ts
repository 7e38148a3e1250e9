import type { NodeContext } from "./compile/compile.ts";
import type { AgentConfig } from "./agent-config.ts";
import { upstreamsFile } from "./config.ts";
import type { KernelTools } from "./dataplane/exec.ts";
import type { TableSink } from "./dataplane/mailbox.ts";
import { readKnownUpstreams } from "./dns/known-upstreams.ts";
import { createClaimedAddresses } from "./node/claimed-addresses.ts";
import { lookAtNetwork } from "./node/facts.ts";
import type { NodeNetwork } from "./node/network.ts";
import { zoneOf } from "./compile/host-facts.ts";
import type { ClusterState } from "./sync/state.ts";

/** This host's own addresses and networks, as they were when it was looked last, and what compile must know of the host. */
export interface OwnNetwork {
  /** Looks, and says what it found; `server`: the addresses in the order that the way there suggests. */
  look(server: string | undefined, signal: AbortSignal): Promise<NodeNetwork>;
  /** Subnets of Docker's bridges, from the next look on. */
  knowBridged(subnets: readonly string[]): void;
  readonly now: NodeNetwork;
  set(network: NodeNetwork): void;
  context(): NodeContext;
  /** Who may ask DNS: our own networks, and whom the operator has named. */
  dnsSources(): readonly string[];
  /** Which addresses belong to Services. */
  readonly claims: TableSink;
}

const NOT_LOOKED: NodeNetwork = { addresses: [], containerCidrs: [], localCidrs: [], reserved: [] };

export interface OwnNetworkDeps {
  readonly config: Pick<
    AgentConfig,
    "membership" | "masqueradeAll" | "nodePortCidrs" | "stateDir" | "dnsUpstreams" | "dnsStubs" | "dnsAllow"
  >;
  readonly tools: KernelTools;
  readonly state: ClusterState;
}

export function createOwnNetwork({ config, tools, state }: OwnNetworkDeps): OwnNetwork {
  const { membership, masqueradeAll, nodePortCidrs, stateDir, dnsUpstreams, dnsStubs, dnsAllow } = config;
  const { node: name, addresses, cluster } = membership;
  const claims = createClaimedAddresses();
  let now = NOT_LOOKED;
  let bridged: readonly string[] = [];
  let reservedAddresses: ReadonlyMap<string, string> = new Map();
  // An address that the server knows as this node's was its own before a Service asked for it.
  const isRegistered = (address: string): boolean =>
    state.nodes.get(name)?.status.addresses.some((known) => known.type === "InternalIP" && known.address === address) ?? false;
  return {
    claims,
    look: (server, signal) =>
      lookAtNetwork(
        {
          tools,
          server,
          serviceCidrs: cluster.serviceCidrs,
          addresses,
          bridged,
          isClaimed: (address) => claims.has(address) && !isRegistered(address),
          askedServers: async () => [
            ...[...dnsUpstreams, ...dnsStubs.flatMap(({ servers }) => servers)].map(({ address }) => address),
            ...(await readKnownUpstreams(upstreamsFile(stateDir))),
          ],
        },
        signal,
      ),
    knowBridged: (subnets) => void (bridged = subnets),
    get now() {
      return now;
    },
    set(network) {
      now = network;
      reservedAddresses = new Map(network.reserved.map(({ address, why }) => [address, why]));
    },
    dnsSources: () => [...now.localCidrs, ...dnsAllow],
    context: () => ({
      name,
      addresses: now.addresses,
      localCidrs: now.containerCidrs,
      masqueradeAll,
      nodePortCidrs,
      zone: zoneOf(state.nodes.get(name)),
      reservedAddresses,
    }),
  };
}
