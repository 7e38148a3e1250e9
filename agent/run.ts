import { hostname } from "node:os";
import { join } from "node:path";
import type { Logger } from "pino";
import type { ClusterFacts } from "#proto/agents.ts";
import { backoffMs, pause } from "#proto/backoff.ts";
import { clientOver, type Client } from "#proto/client.ts";
import { openTransport, type Connection } from "#proto/client-http.ts";
import { describeError } from "#proto/error.ts";
import type { ObjectKey } from "#proto/meta.ts";
import { internalIpsOf } from "#proto/node.ts";
import { writeMembership, type Membership } from "./config.ts";
import { openKernelTools, type KernelTools } from "./dataplane/exec.ts";
import { dataplaneLoop } from "./dataplane/loop.ts";
import { createTableMailbox, type TableMailbox } from "./dataplane/mailbox.ts";
import { selectDriver } from "./dataplane/select.ts";
import { HOST_LOCAL_ADDRESS, keepDnsAddresses, removeDnsAddresses } from "./dns/address.ts";
import type { ListenAddress } from "./dns/listen.ts";
import { configureResolver, describeResolver } from "./dns/resolver-config.ts";
import { createDnsResponder } from "./dns/responder.ts";
import { createFollower, type Follower } from "./follow.ts";
import { createHealth } from "./health/loop.ts";
import { lookAtNetwork, machineIdOf, nodeInfoOf, refuseOverlap } from "./node/facts.ts";
import { nodeObjectLoop } from "./node/node-object.ts";
import type { NodeNetwork } from "./node/network.ts";
import { createAppliedTracker } from "./sync/applied.ts";
import { createContact } from "./sync/contact.ts";
import { heartbeatLoop } from "./sync/heartbeat.ts";
import { createReplicaStore, replay, type ReplicaStore } from "./sync/replica-store.ts";
import { createReplica, type Replica } from "./sync/replica.ts";
import { runAll } from "./sync/scope.ts";
import type { Touched } from "./sync/state.ts";
import { watchLoop } from "./sync/watch-loop.ts";
import { createWorkloadFiles } from "./workloads/loop.ts";

export interface AgentConfig {
  readonly credentialsFile: string;
  readonly connection: Connection;
  readonly membership: Membership;
  readonly stateDir: string;
  readonly workloadsDir: string;
  readonly dataplane: string;
  /** Where DNS answers besides the DNS service's virtual IPs. */
  readonly dnsListen: readonly ListenAddress[];
  readonly dnsUpstreams: readonly ListenAddress[];
  readonly configureResolver: boolean;
  readonly masqueradeAll: boolean;
  readonly log: Logger;
}

const VERIFY_EVERY_MS = 400; // a repair is promised within a second
/** Somebody who fights with us for the rules makes one Event in a while. */
const TELL_EVERY_MS = 10_000;
const DNS_PORT = 53;

/** Runs the agent until the signal aborts, or until the fleet's own facts change (domain, ranges): then it must be run anew, with what it returns. */
export async function runAgent(config: AgentConfig, outer: AbortSignal): Promise<Membership | undefined> {
  const { connection, membership, stateDir, log } = config;
  const { node: nodeName, cluster: facts } = membership;
  const tools = openKernelTools();
  await refuseOverlap({ tools, serviceCidrs: facts.serviceCidrs }, outer);
  const restart = new AbortController();
  const look = (server: string | undefined, signal: AbortSignal): Promise<NodeNetwork> =>
    lookAtNetwork({ tools, server, serviceCidrs: facts.serviceCidrs, addresses: membership.addresses }, signal);
  let network = await look(undefined, outer);

  const replica = createReplica({ nodeName, log });
  const { state } = replica;
  const store = createReplicaStore({ folder: join(stateDir, "replica"), nodeName, image: () => replica.image(), log });
  const mailbox = createTableMailbox();
  const applied = createAppliedTracker();
  const dns = createDnsResponder({
    ...facts,
    listen: listenOf(config),
    allowedSources: network.localCidrs,
    upstreams: upstreamsOf(config),
    log,
  });
  const follower = createFollower({
    state,
    node: () => ({ name: nodeName, addresses: network.addresses, localCidrs: network.containerCidrs, masqueradeAll: config.masqueradeAll }),
    mailbox,
    dns,
    applied,
  });

  // From what was heard last, before the network is asked for anything: a host that boots while the server is down serves at once.
  const savedAt = await serveWhatWasKnown(config, store, replica, follower);

  const transport = openTransport(connection);
  const client = clientOver(transport);
  const contact = createContact({ log, since: savedAt });
  let synced = false;
  const workloadFiles = createWorkloadFiles({
    folder: config.workloadsDir,
    nodeName,
    client,
    own: state.ownWorkloads,
    synced: () => synced,
    onChecks: (keys) => health.touched(keys),
    log,
  });
  const health = createHealth({
    workloads: state.ownWorkloads,
    localChecks: (key) => workloadFiles.localChecks(key),
    nodeAddress: () => nodeAddressOf(state.nodes.get(nodeName)) ?? network.addresses[0],
    report: (key, status, signal) => reportHealth(client, key, status, signal),
    log,
  });
  const trouble = createTrouble();

  function follow(touched: Touched): void {
    if (touched.all && !same(state.cluster, facts)) restart.abort();
    follower.follow(touched);
    const isFirst = !synced;
    synced = true;
    health.touched(touched.ownWorkloads);
    if (isFirst || touched.ownWorkloads.size > 0) workloadFiles.touched();
  }

  const problems = (): string[] => [
    ...trouble.list(),
    ...contact.problems(),
    ...dns.problems(),
    ...workloadFiles.problems(),
    ...store.problems(),
    ...replica.problems(),
  ];
  const signal = AbortSignal.any([outer, restart.signal]);
  try {
    await runAll(signal, {
      dataplane: (end) =>
        programKernel(
          { config, mailbox, tools, trouble, client, applied: (revision) => applied.applied(revision), begin: () => follower.recompile() },
          end,
        ),
      dns: (end) => dns.run(end),
      "dns address": (end) => keepDnsAddresses({ tools, addresses: facts.dnsIps, log }, end),
      resolver: (end) => setUpResolver(config, tools, trouble, end),
      persistence: (end) => store.run(end),
      watch: (end) => watchLoop({ transport, replica, store, follow, applied, contact, log }, end),
      heartbeat: (end) =>
        heartbeatLoop(
          {
            transport,
            nodeName,
            intervalMs: () => (state.cluster ?? facts).heartbeatIntervalMs,
            epoch: () => replica.epoch(),
            applied: () => applied.revision(),
            problems,
            contact,
          },
          end,
        ),
      node: async (end) =>
        nodeObjectLoop(
          {
            client,
            nodeName,
            hostName: hostname(),
            nodeInfo: await nodeInfoOf(await machineIdOf(stateDir)),
            look: (ends) => look(connection.server, ends),
            known: network,
            onChange: (found) => {
              network = found;
              dns.allowSources(found.localCidrs);
              follower.recompile();
            },
            onFailure: (error) => trouble.set("node", error),
            log,
          },
          end,
        ),
      health: (end) => health.run(end),
      workloads: (end) => workloadFiles.run(end),
    });
  } finally {
    await transport.close();
  }
  if (outer.aborted || state.cluster === undefined) return undefined;
  log.warn({ before: facts, now: state.cluster }, "the fleet's facts have changed: starting anew with them");
  await removeDnsAddresses(tools, facts.dnsIps);
  const next = { ...membership, cluster: state.cluster };
  await writeMembership(config.credentialsFile, connection, next);
  return next;
}

async function serveWhatWasKnown(
  { log }: AgentConfig,
  store: ReplicaStore,
  replica: Replica,
  follower: Follower,
): Promise<Date | undefined> {
  const stored = await store.load();
  if (!stored) return undefined;
  follower.follow(await replica.replaceWith({ ...replay(stored), cluster: stored.header.cluster }));
  const { revision, services } = replica.state;
  log.info({ revision, services: services.size, savedAt: stored.savedAt }, "serving what was known");
  return stored.savedAt;
}

interface KernelDeps {
  readonly config: AgentConfig;
  readonly mailbox: TableMailbox;
  readonly tools: KernelTools;
  readonly trouble: Trouble;
  readonly client: Client;
  readonly applied: (revision: number) => void;
  readonly begin: () => void;
}

/** A kernel tool that is missing or fails is reported and tried again: it may be installed, and DNS and heartbeats go on meanwhile. */
async function programKernel({ config, mailbox, tools, trouble, client, applied, begin }: KernelDeps, signal: AbortSignal): Promise<void> {
  const { dataplane, stateDir, log } = config;
  let toldAt = -Infinity;
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      const driver = await selectDriver({ dataplane, stateDir, log, tools }, signal);
      trouble.set("data plane", undefined);
      if (failures > 0) begin();
      const onDrift = (missing: readonly string[]): void => {
        if (performance.now() - toldAt < TELL_EVERY_MS) return;
        toldAt = performance.now();
        void tellOfDrift(client, config, missing, signal);
      };
      const onFailure = (error: Error | undefined): void => trouble.set("data plane", error);
      await dataplaneLoop({ driver, mailbox, verifyIntervalMs: VERIFY_EVERY_MS, log, onApplied: applied, onDrift, onFailure }, signal);
    } catch (error) {
      if (isOver(signal)) return;
      if (failures === 0) log.error({ error: describeError(error) }, "the data plane cannot work here yet; trying on");
      trouble.set("data plane", error);
      await pause(backoffMs(failures + 1, Math.random(), { baseMs: 1000, maxMs: 30_000 }), signal);
    }
  }
}

/** An Event for people; the repair does not wait for it, and a server that is down does not hear of it. */
async function tellOfDrift(
  client: Client,
  { membership, log }: AgentConfig,
  missing: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const at = new Date().toISOString();
  const { node } = membership;
  try {
    await client.create(
      "Event",
      {
        apiVersion: "v1",
        kind: "Event",
        metadata: { name: `${node}.${Date.now().toString(16)}`, namespace: "default" },
        involvedObject: { kind: "Node", name: node },
        reason: "RulesRepaired",
        message: `somebody else removed or changed rules of this host, and they were put back: ${missing.join(", ")}`.slice(0, 1024),
        type: "Warning",
        source: { component: "fairlead-agent", host: node },
        firstTimestamp: at,
        lastTimestamp: at,
        count: 1,
      },
      { signal },
    );
  } catch (error) {
    log.info({ error: describeError(error) }, "the server was not told of the repair");
  }
}

async function setUpResolver(
  { configureResolver: wanted, membership, log }: AgentConfig,
  tools: KernelTools,
  trouble: Trouble,
  signal: AbortSignal,
): Promise<void> {
  const host = { tools, address: HOST_LOCAL_ADDRESS, domain: membership.cluster.domain };
  for (let failures = 1; !signal.aborted; failures++) {
    try {
      if (wanted) log.info({ resolver: await configureResolver(host) }, "systemd-resolved asks this agent for the names of the fleet");
      else {
        const { summary, line } = await describeResolver(host);
        log.info({ summary, line }, "one line makes this host use the names of the fleet");
        console.error(`To resolve *.${membership.cluster.domain} on this host: ${line}`);
      }
      trouble.set("resolver", undefined);
      return;
    } catch (error) {
      if (failures === 1) log.warn({ error: describeError(error) }, "the host's resolver is not set up");
      trouble.set("resolver", error);
      await pause(backoffMs(failures, Math.random(), { baseMs: 5000, maxMs: 300_000 }), signal);
    }
  }
}

async function reportHealth(client: Client, key: ObjectKey, status: object, signal: AbortSignal): Promise<void> {
  const slash = key.indexOf("/");
  await client.patch("Workload", key.slice(slash + 1), { status }, { namespace: key.slice(0, slash), subresource: "status", signal });
}

/** What is wrong now, one line a subject. */
interface Trouble {
  set(subject: string, error: unknown): void;
  list(): readonly string[];
}

function createTrouble(): Trouble {
  const lines = new Map<string, string>();
  return {
    set(subject, error) {
      if (error === undefined) lines.delete(subject);
      else lines.set(subject, `${subject}: ${describeError(error)}`);
    },
    list: () => [...lines.values()],
  };
}

function listenOf({ membership, dnsListen }: AgentConfig): ListenAddress[] {
  const fixed = membership.cluster.dnsIps.map((address) => ({ address, port: DNS_PORT }));
  return [...fixed, ...(dnsListen.length > 0 ? dnsListen : [{ address: HOST_LOCAL_ADDRESS, port: DNS_PORT }])];
}

function upstreamsOf({ dnsUpstreams }: AgentConfig): readonly ListenAddress[] | undefined {
  return dnsUpstreams.length > 0 ? dnsUpstreams : undefined;
}

function nodeAddressOf(node: Parameters<typeof internalIpsOf>[0] | undefined): string | undefined {
  return node && internalIpsOf(node)[0];
}

function same(a: ClusterFacts | undefined, b: ClusterFacts): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
