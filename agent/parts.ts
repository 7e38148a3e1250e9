import { join } from "node:path";
import { clientOver, type Client } from "#proto/client.ts";
import { openTransport, type Transport } from "#proto/client-http.ts";
import type { ObjectKey } from "#proto/meta.ts";
import { internalIpsOf, type Node } from "#proto/node.ts";
import type { AgentConfig } from "./agent-config.ts";
import { everyDnsChange } from "./compile/dns-view.ts";
import { upstreamsFile } from "./config.ts";
import { createAddressRoutes, type AddressRoutes } from "./dataplane/address-routes.ts";
import type { HostTools } from "./dataplane/exec.ts";
import { putInAll } from "./dataplane/mailbox.ts";
import { placesToListen } from "./dns/places.ts";
import { createDnsMembers, type DnsMembers } from "./dns/members.ts";
import { createDockerDiscovery, type DockerDiscovery } from "./docker/discovery.ts";
import { openEngine } from "./docker/engine.ts";
import { createFollower, type Follower } from "./follow.ts";
import { createHealth, type Health } from "./health/loop.ts";
import { createHealthPorts, type HealthPorts } from "./health-port/health-ports.ts";
import { serversKept } from "./host-resolver/file.ts";
import { openRecords } from "./host-resolver/record.ts";
import { createKernel, familiesOf, type Kernel } from "./kernel.ts";
import { createNodeEvents, type NodeEvents } from "./node-events.ts";
import { createLocalPorts, type LocalPorts } from "./node-port/local-ports.ts";
import { createOwnNetwork, type OwnNetwork } from "./own-network.ts";
import { checksOf, type Looked } from "./probes/checks.ts";
import { addForwardMetrics } from "./probes/forward-metrics.ts";
import { createAgentMetrics, type AgentMetrics } from "./probes/metrics.ts";
import { createAppliedTracker, type AppliedTracker } from "./sync/applied.ts";
import { openRouted, type Routed } from "./routed/parts.ts";
import { createReplicaStore, type ReplicaStore } from "./sync/replica-store.ts";
import { noneTouched, touchedOf } from "./sync/held-objects.ts";
import { createReplica, type Replica } from "./sync/replica.ts";
import { createTrouble, type Trouble } from "./trouble.ts";
import { createWorkloadFiles, type WorkloadFiles } from "./workloads/files.ts";
import { createWorkloadKeeper, type WorkloadKeeper } from "./workloads/keeper.ts";

/** What the agent consists of, put together; nothing runs yet. */
export interface Parts {
  readonly config: AgentConfig;
  readonly tools: HostTools;
  readonly replica: Replica;
  readonly store: ReplicaStore;
  readonly network: OwnNetwork;
  readonly applied: AppliedTracker;
  readonly kernel: Kernel;
  readonly localPorts: LocalPorts;
  readonly healthPorts: HealthPorts;
  readonly addressRoutes: AddressRoutes;
  readonly dns: DnsMembers;
  readonly follower: Follower;
  readonly transport: Transport;
  readonly client: Client;
  readonly health: Health;
  readonly workloadFiles: WorkloadFiles;
  /** Absent where no engine is to be asked. */
  readonly docker: DockerDiscovery | undefined;
  readonly workloadKeeper: WorkloadKeeper;
  /** Containers of other hosts, and theirs of this one's. */
  readonly routed: Routed;
  readonly trouble: Trouble;
  /** Ports that other programs have. */
  readonly portTrouble: Trouble;
  readonly events: NodeEvents;
  readonly metrics: AgentMetrics;
  /** How it goes with each family. */
  readonly look: () => Looked;
  /** Has the server been heard? */
  readonly sync: { done: boolean };
}

export async function openParts(config: AgentConfig, tools: HostTools, signal: AbortSignal): Promise<Parts> {
  const { connection, membership, stateDir, log } = config;
  const { node: nodeName, cluster: facts } = membership;
  const trouble = createTrouble();
  const replica = createReplica({ nodeName, log });
  const { state } = replica;
  const network = createOwnNetwork({ config, tools, state });
  network.set(await network.look(undefined, signal));
  const transport = openTransport(connection);
  const client = clientOver(transport);
  const dataplane = openDataplane(
    { config, tools, trouble, client, wanted: () => state.revision, recompile: () => follower.recompile() },
    signal,
  );
  const { applied, kernel, localPorts, healthPorts } = dataplane;
  const routed: Routed = openRouted({
    config,
    tools,
    trouble,
    events: dataplane.events,
    state,
    network,
    docker: () => docker,
    onReached: () => follower.follow(touchedOf(noneTouched(), { revision: state.revision, all: true })),
  });
  const resolverRecords = openRecords();
  const dns = createDnsMembers({
    ...facts,
    members: config.dnsListeners,
    everything: () => everyDnsChange(routed.reached, network.context().zone),
    listen: placesToListen(facts.dnsIps, config.dnsListen),
    allowedSources: network.dnsSources(),
    upstreams: config.dnsUpstreams.length > 0 ? config.dnsUpstreams : undefined,
    stubs: config.dnsStubs,
    knownUpstreamsFile: upstreamsFile(stateDir),
    image: { file: join(stateDir, "dns-zone"), node: nodeName },
    adopted: () => serversKept(resolverRecords),
    log,
  });
  addForwardMetrics(dataplane.metrics.registry, () => dns.stats().forwarding);
  const addressRoutes = openAddressRoutes({ config, tools, trouble, network });
  const mailbox = putInAll([kernel, localPorts, healthPorts, addressRoutes, network.claims]);
  const follower: Follower = createFollower({ state: routed.reached, node: () => network.context(), mailbox, dns, applied });
  const sync = { done: false };
  const workloadFiles = createWorkloadFiles({
    folder: config.workloadsDir,
    nodeName,
    onChange: (keys) => {
      health.touched(keys);
      workloadKeeper.touched();
    },
    log,
  });
  const docker = openDocker({ config, client, state, network, routed: routed.facts, onChange: () => workloadKeeper.touched() });
  const workloadKeeper = createWorkloadKeeper({
    sources: docker ? [workloadFiles, docker] : [workloadFiles],
    client,
    own: state.ownWorkloads,
    synced: () => sync.done,
    log,
  });
  const health = createHealth({
    workloads: state.ownWorkloads,
    localChecks: (key) => workloadFiles.localChecks(key),
    nodeAddress: () => nodeAddressOf(state.nodes.get(nodeName)) ?? network.now.addresses[0],
    report: (key, status, end) => reportHealth(client, key, status, end),
    log,
  });
  const store = createReplicaStore({ folder: join(stateDir, "replica"), nodeName, image: () => replica.image(), log });
  return {
    ...dataplane,
    addressRoutes,
    config,
    tools,
    trouble,
    replica,
    store,
    network,
    transport,
    client,
    dns,
    follower,
    health,
    workloadFiles,
    docker,
    workloadKeeper,
    routed,
    sync,
  };
}

interface DockerParts extends Pick<Parts, "config" | "client" | "network"> {
  readonly state: Replica["state"];
  readonly routed: Routed["facts"];
  readonly onChange: () => void;
}

function openDocker({ config, client, state, network, routed, onChange }: DockerParts): DockerDiscovery | undefined {
  if (config.dockerSocket === undefined) return undefined;
  return createDockerDiscovery({
    engine: openEngine(config.dockerSocket),
    nodeName: config.membership.node,
    nodeIps: () => network.now.addresses,
    own: state.ownWorkloads,
    routed,
    report: (key, status, end) => reportHealth(client, key, status, end),
    onChange,
    log: config.log,
  });
}

function openAddressRoutes({ config, tools, trouble, network }: Pick<Parts, "config" | "tools" | "trouble" | "network">): AddressRoutes {
  return createAddressRoutes({
    tools,
    addresses: () => network.now.addresses,
    log: config.log,
    onProblem: (problem) => trouble.set("routes to addresses of services", problem),
  });
}

interface DataplaneParts {
  readonly config: AgentConfig;
  readonly tools: HostTools;
  readonly trouble: Trouble;
  readonly client: Client;
  readonly wanted: () => number;
  readonly recompile: () => void;
}

/** All that follows the table. */
function openDataplane(
  { config, tools, trouble, client, wanted, recompile }: DataplaneParts,
  signal: AbortSignal,
): Pick<Parts, "applied" | "kernel" | "localPorts" | "healthPorts" | "metrics" | "look" | "portTrouble" | "events"> {
  const { membership, log } = config;
  const families = familiesOf(membership.cluster.serviceCidrs);
  const applied = createAppliedTracker(families);
  const events = createNodeEvents({ client, node: membership.node, log }, signal);
  const waitingMs = (family: string): number => applied.waitingMs(family);
  const metrics = createAgentMetrics({ families, wanted, applied: () => applied.revision(), waitingMs });
  const kernel = createKernel({ config, families, tools, applied, trouble, events, metrics, recompile });
  const look = (): Looked => ({ families: kernel.records.map((record) => ({ ...record, waitingMs: waitingMs(record.family) })) });
  const portTrouble = createTrouble();
  const tell = portTeller(portTrouble, events);
  const localPorts = createLocalPorts({ onTrouble: (port, why) => tell(port, why) });
  const healthPorts = createHealthPorts({
    families,
    isHealthy: () => checksOf(look()).every(({ fault }) => fault === undefined),
    onTrouble: (service, why) => tell(`health check port of ${service}`, why),
  });
  return { applied, kernel, localPorts, healthPorts, metrics, look, portTrouble, events };
}

/** Another program has a port that a Service asks for: its owner hears of it, and it is tried again. */
function portTeller(trouble: Trouble, events: NodeEvents): (port: string, why: string | undefined) => void {
  return (port, why) => {
    trouble.set(port, why);
    if (why === undefined) return;
    events.tell({ reason: "PortNotOpened", about: port, quietMs: 60_000, message: `${port} cannot be opened on this host: ${why}` });
  };
}

async function reportHealth(client: Client, key: ObjectKey, status: object, signal: AbortSignal): Promise<void> {
  const slash = key.indexOf("/");
  await client.patch("Workload", key.slice(slash + 1), { status }, { namespace: key.slice(0, slash), subresource: "status", signal });
}

function nodeAddressOf(node: Node | undefined): string | undefined {
  return node && internalIpsOf(node)[0];
}
