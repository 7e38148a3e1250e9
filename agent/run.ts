import { hostname } from "node:os";
import { join } from "node:path";
import type { ClusterFacts } from "#proto/agents.ts";
import { clientOver, type Client } from "#proto/client.ts";
import { openTransport } from "#proto/client-http.ts";
import type { ObjectKey } from "#proto/meta.ts";
import { internalIpsOf } from "#proto/node.ts";
import { upstreamsFile, writeMembership, type Joined } from "./config.ts";
import { openKernelTools } from "./dataplane/exec.ts";
import { createTableMailbox } from "./dataplane/mailbox.ts";
import { HOST_LOCAL_ADDRESS, keepDnsAddresses, removeDnsAddresses } from "./dns/address.ts";
import type { ListenAddress } from "./dns/listen.ts";
import { createDnsResponder } from "./dns/responder.ts";
import type { AgentConfig } from "./agent-config.ts";
import { programKernel } from "./kernel.ts";
import { joinedAnew, rejoinLoop } from "./rejoin.ts";
import { setUpResolver } from "./resolver.ts";
import { createTrouble } from "./trouble.ts";
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

const DNS_PORT = 53;

/**
 * Runs the agent until the signal aborts, or until the fleet's own facts change (domain, ranges) or this host has joined again: then it must be run anew,
 * with what it returns.
 */
export async function runAgent(config: AgentConfig, outer: AbortSignal): Promise<Joined | undefined> {
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
    knownUpstreamsFile: upstreamsFile(stateDir),
    log,
  });
  const follower = createFollower({
    state,
    node: () => ({
      name: nodeName,
      addresses: network.addresses,
      localCidrs: network.containerCidrs,
      masqueradeAll: config.masqueradeAll,
      nodePortCidrs: [],
      zone: state.nodes.get(nodeName)?.metadata.labels?.["topology.kubernetes.io/zone"],
      reservedAddresses: new Map(),
    }),
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
  let rejoined: Joined | undefined;

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
      rejoin: (end) =>
        rejoinLoop(
          {
            credentialsFile: config.credentialsFile,
            connection,
            isOutOfTouch: () => contact.problems().length > 0,
            onRejoin: (joined) => {
              rejoined = joined;
              restart.abort();
            },
          },
          end,
        ),
      health: (end) => health.run(end),
      workloads: (end) => workloadFiles.run(end),
    });
  } finally {
    await transport.close();
  }
  if (outer.aborted) return undefined;
  const next = await startAnewWith(config, state.cluster ?? facts, rejoined);
  if (!same(next.membership.cluster, facts)) await removeDnsAddresses(tools, facts.dnsIps);
  return next;
}

/** Whoever joined again at the same moment is not overwritten. */
async function startAnewWith(
  { credentialsFile, connection, membership, log }: AgentConfig,
  cluster: ClusterFacts,
  rejoined: Joined | undefined,
): Promise<Joined> {
  const joined = rejoined ?? (await joinedAnew(credentialsFile, connection));
  if (joined) {
    log.info(
      { node: joined.membership.node, server: joined.connection.server },
      "this host has joined again: going on with its new credential",
    );
    return joined;
  }
  log.warn({ before: membership.cluster, now: cluster }, "the fleet's facts have changed: starting anew with them");
  const next = { connection, membership: { ...membership, cluster } };
  await writeMembership(credentialsFile, connection, next.membership);
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

async function reportHealth(client: Client, key: ObjectKey, status: object, signal: AbortSignal): Promise<void> {
  const slash = key.indexOf("/");
  await client.patch("Workload", key.slice(slash + 1), { status }, { namespace: key.slice(0, slash), subresource: "status", signal });
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
