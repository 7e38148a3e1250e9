import { hostname, networkInterfaces } from "node:os";
import { reaches } from "./dataplane/reaches.ts";
import { keepRangeRoutes } from "./dataplane/route.ts";
import { tellDnsProblems } from "./dns-news.ts";
import { keepDnsAddresses } from "./dns/address.ts";
import { readKnownUpstreams } from "./dns/known-upstreams.ts";
import { DNS_PORT } from "./dns/server-address.ts";
import type { ExplainDeps } from "./explain/answer.ts";
import { NodeAddresses } from "./explain/node-addresses.ts";
import { machineIdOf, nodeInfoOf } from "./node/facts.ts";
import { nodeObjectLoop } from "./node/node-object.ts";
import type { Parts } from "./parts.ts";
import { registerDnsMetrics } from "./probes/dns-metrics.ts";
import { serveProbes } from "./probes/serve.ts";
import { refusedProblems } from "./refused-addresses.ts";
import { rejoinLoop } from "./rejoin.ts";
import { runResolver } from "./resolver.ts";
import { tellSystemd } from "./tell-systemd.ts";
import { createContact, type Contact } from "./sync/contact.ts";
import { heartbeatLoop } from "./sync/heartbeat.ts";
import type { Touched } from "./sync/state.ts";
import { watchLoop } from "./sync/watch-loop.ts";
import { sameFacts } from "./next-run.ts";
import { upstreamsFile, type Joined } from "./config.ts";

export interface LoopDeps {
  readonly parts: Parts;
  /** When the state was saved that the agent began with. */
  readonly savedAt: Date | undefined;
  /** Ends the run, so that the next begins: the fleet's facts are others, or this host has joined again. */
  readonly startAnew: (rejoined?: Joined) => void;
}

const MAX_ALIKE = 3;

type Loop = (end: AbortSignal) => Promise<void>;

/** What needs nothing of the agent's state. */
export function dnsLoopsOf({ config: { membership, log }, dns, tools }: Parts): Readonly<Record<string, Loop>> {
  return {
    dns: (end) => dns.run(end),
    "dns address": (end) => keepDnsAddresses({ tools, addresses: membership.cluster.dnsIps, log }, end),
  };
}

/** All else that runs, by name. Loops of one agent live and die together. */
export function loopsOf({ parts, savedAt, startAnew }: LoopDeps): Readonly<Record<string, Loop>> {
  const { config, tools, trouble, kernel, dns, store, health, workloadFiles, workloadKeeper, docker, replica, transport, applied } = parts;
  const { membership, connection, credentialsFile, log } = config;
  const contact = createContact({ log, since: savedAt });
  const nodeAddresses = new NodeAddresses(replica.state);
  const followState = followerOf(parts, startAnew);
  const follow = (touched: Touched): void => {
    nodeAddresses.touched(touched);
    followState(touched);
  };
  const { look, metrics } = parts;
  registerDnsMetrics(metrics.registry, { stats: () => dns.stats(), stateAgeMs: () => contact.stateAgeMs() });
  return {
    kernel: (end) => kernel.run(end),
    "range routes": (end) =>
      keepRangeRoutes(
        {
          tools,
          serviceCidrs: membership.cluster.serviceCidrs,
          addresses: () => parts.network.now.addresses,
          reaches,
          log,
          onProblem: (problem) => trouble.set("route to the virtual IPs", problem),
        },
        end,
      ),
    "address routes": (end) => parts.addressRoutes.run(end),
    "local ports": (end) => parts.localPorts.run(end),
    "health ports": (end) => parts.healthPorts.run(end),
    probes: (end) =>
      serveProbes(
        {
          listen: config.healthzListen,
          look,
          more: () => [{ name: "DNS", ...dns.health() }],
          metrics,
          explain: { ...explainOf(parts, contact), nodeAddresses },
          onTrouble: (why) => trouble.set("--healthz-listen", why),
        },
        end,
      ),
    "dns news": (end) => tellDnsProblems({ problems: () => dns.problems(), events: parts.events }, end),
    resolver: (end) => runResolver(parts, end),
    persistence: (end) => store.run(end),
    watch: (end) => watchLoop({ transport, replica, store, follow, applied, contact, log }, end),
    heartbeat: heartbeatOf(parts, contact),
    node: nodeLoopOf(parts),
    rejoin: (end) =>
      rejoinLoop({ credentialsFile, connection, isOutOfTouch: () => contact.problems().length > 0, onRejoin: startAnew }, end),
    systemd: (end) =>
      tellSystemd(
        { notices: config.notices, look, server: connection.server, problems: () => [...trouble.list(), ...contact.problems()] },
        end,
      ),
    health: (end) => health.run(end),
    "workload files": (end) => workloadFiles.run(end),
    workloads: (end) => workloadKeeper.run(end),
    ...parts.routed.loops,
    ...(docker && { docker: (end: AbortSignal) => docker.run(end) }),
  };
}

function explainOf({ config, replica }: Parts, contact: Contact): Omit<ExplainDeps, "nodeAddresses"> {
  const { dnsUpstreams, dnsStubs, stateDir, membership } = config;
  return {
    node: membership.node,
    state: replica.state,
    stateAgeMs: () => contact.stateAgeMs(),
    upstreams: async () =>
      dnsUpstreams.length > 0
        ? dnsUpstreams
        : (await readKnownUpstreams(upstreamsFile(stateDir))).map((address) => ({ address, port: DNS_PORT })),
    stubs: dnsStubs,
  };
}

/** Who follows what the server says. */
function followerOf(
  { config, replica, follower, health, workloadKeeper, docker, routed, sync }: Parts,
  startAnew: () => void,
): (touched: Touched) => void {
  const facts = config.membership.cluster;
  return (touched) => {
    if (touched.all && !sameFacts(replica.state.cluster, facts)) startAnew();
    routed.touched(touched);
    follower.follow(touched);
    const isFirst = !sync.done;
    sync.done = true;
    health.touched(touched.ownWorkloads);
    if (!isFirst && touched.ownWorkloads.size === 0) return;
    workloadKeeper.touched();
    docker?.touched();
  };
}

function heartbeatOf(parts: Parts, contact: Contact): Loop {
  const { config, transport, replica, applied, trouble, portTrouble, dns, workloadFiles, workloadKeeper, docker, routed, store, follower } =
    parts;
  const { node: nodeName, cluster: facts } = config.membership;
  const problems = (): string[] => [
    ...trouble.list(),
    ...contact.problems(),
    ...dns.problems(),
    ...workloadFiles.problems(),
    ...workloadKeeper.problems(),
    ...someOf(docker?.problems() ?? [], "more containers cannot be registered"),
    ...someOf(routed.problems(), "more networks of containers are not reached"),
    ...store.problems(),
    ...replica.problems(),
    ...refusedProblems(follower.notes),
    ...someOf(portTrouble.list(), "more ports cannot be opened"),
  ];
  const deps = {
    transport,
    nodeName,
    intervalMs: () => (replica.state.cluster ?? facts).heartbeatIntervalMs,
    epoch: () => replica.epoch(),
    applied: () => applied.revision(),
    problems,
    contact,
  };
  return (end) => heartbeatLoop(deps, end);
}

/** Of many that are alike, a few say it. */
function someOf(lines: readonly string[], others: string): readonly string[] {
  return lines.length <= MAX_ALIKE ? lines : [...lines.slice(0, MAX_ALIKE), `${lines.length - MAX_ALIKE} ${others}`];
}

function nodeLoopOf({ config, client, network, dns, follower, routed, trouble }: Parts): Loop {
  const { membership, connection, stateDir, log } = config;
  return async (end) =>
    nodeObjectLoop(
      {
        client,
        nodeName: membership.node,
        hostName: hostname(),
        nodeInfo: await nodeInfoOf(await machineIdOf(stateDir)),
        look: (ends) => network.look(connection.server, ends),
        routed: () => routed.wanted(),
        onRefused: (refused) => routed.refused(refused),
        othersChanged: () => routed.othersChanged(),
        glance: () => JSON.stringify(networkInterfaces()),
        known: network.now,
        onChange: (found) => {
          network.set(found);
          dns.allowSources(network.dnsSources());
          follower.recompile();
          routed.networkChanged();
        },
        onFailure: (error) => trouble.set("node", error),
        log,
      },
      end,
    );
}
