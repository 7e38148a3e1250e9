import { setImmediate as nextTurn } from "node:timers/promises";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { AnswerCounts } from "./answer-counts.ts";
import type { AnswerCount } from "./answer-counts.ts";
import type { ForwardStats } from "./forward-stats.ts";
import { listenAt } from "./listen.ts";
import type { ListenAddress, ListenState } from "./listen.ts";
import type { ZoneChunk } from "./messages.ts";
import type { NameKey } from "./name.ts";
import { OtherNames } from "./other-names.ts";
import type { Servers } from "./other-names.ts";
import { createMessageHandler } from "./serve.ts";
import { serverKey } from "./server-address.ts";
import { AllowedSources } from "./sources.ts";
import type { StubDomain } from "./stub-domains.ts";
import type { Siblings } from "./targets.ts";
import type { Upstream } from "./upstream-udp.ts";
import { createUntilTold } from "./until-told.ts";
import { WireCache } from "./wire-cache.ts";
import { ZoneIndex } from "./zone.ts";

/** What a responder is told when it starts; plain data. */
export interface ResponderFacts {
  /** The DNS service's virtual IPs and HOST_LOCAL_ADDRESS (address.ts), port 53. An address that is not there yet is retried. */
  readonly listen: readonly ListenAddress[];
  /** `cluster.local`. */
  readonly domain: string;
  /** Further ones, with the same names below them. */
  readonly moreDomains?: readonly string[] | undefined;
  readonly serviceCidrs: readonly string[];
  /** Addresses of the domain's name server ns.dns.<domain>: the DNS service's virtual IPs. */
  readonly dnsIps: readonly string[];
  /** Prefixes that may ask: the node's own networks and its containers'. Loopback and our own addresses always may. */
  readonly allowedSources: readonly string[];
  /** Names that are asked of other servers. */
  readonly stubs?: readonly StubDomain[] | undefined;
}

/** pino's, or what tells the agent's thread. */
export interface DnsLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export interface DnsResponderOptions extends ResponderFacts {
  /** Where other names are asked, until `useUpstreams` says otherwise. */
  readonly upstreams?: readonly Upstream[] | undefined;
  /** So long after the start a question waits for the state; 0, or absent = SERVFAIL at once. */
  readonly patienceMs?: number;
  /** Others share the addresses. */
  readonly reusePort?: boolean;
  /** Absent = there are none. */
  readonly siblings?: Siblings | undefined;
  /** An address was bound, or could not be. */
  readonly onBound?: () => void;
  readonly log: DnsLog;
}

export interface AppliedState {
  readonly revision: number;
  /** The state is complete (also when it is old and came from disk): a name that is not in it does not exist. */
  readonly synced: boolean;
  /** The changes are everything there is; what they do not name goes. */
  readonly all: boolean;
}

/** The responder in this thread. The agent's is in threads of its own: members.ts. */
export interface DnsResponder {
  /** Takes effect for the next question; the work follows the changes. */
  apply(changes: Iterable<DnsChange>, state: AppliedState): void;
  /** The same in pieces, with room for answers between them. */
  take(chunk: ZoneChunk): Promise<void>;
  /** What was so when it was saved: answered until there is better, and what it does not name may exist. false = there is better. */
  restore(changes: readonly DnsChange[]): boolean;
  /** What it was told and has not been taken back, as it is when it is read. */
  everything(): Iterable<DnsChange>;
  /** The prefixes that may ask, when the node's networks change. */
  allowSources(cidrs: readonly string[]): void;
  useUpstreams(upstreams: readonly Upstream[]): void;
  /** A sibling got what may be a probe of ours. */
  probeCameBack(key: NameKey): void;
  /** Binds, answers until the signal, drains, closes. Never rejects for an address that cannot be bound: see problems(). */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves when every address is bound. */
  listening(): Promise<readonly ListenAddress[]>;
  bound(): readonly ListenAddress[];
  /** What is wrong now, a line each. */
  problems(): readonly string[];
  stats(): DnsStats;
}

export interface DnsStats {
  readonly revision: number;
  readonly names: number;
  readonly queries: number;
  readonly local: number;
  readonly forwarded: number;
  readonly refused: number;
  readonly answers: readonly AnswerCount[];
  /** Packets not answered, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
  readonly forwarding: ForwardStats;
}

/** Names that go in one turn of the event loop. */
const GONE_PER_TURN = 250;

/** The node's DNS server: names of the cluster from what it was told, all others through the upstreams. */
export function createDnsResponder(options: DnsResponderOptions): DnsResponder {
  const { listen, log, reusePort = false } = options;
  const wires = new WireCache();
  const zone = new ZoneIndex(options, secondsNow(), (name) => wires.drop(name));
  const sources = new AllowedSources(
    listen.map(({ address }) => address),
    options.allowedSources,
  );
  const counts = { queries: 0, local: 0, forwarded: 0, refused: 0 };
  const answers = new AnswerCounts();
  const dropped = new Map<string, number>();
  const places = createPlaces(listen, options);
  let revision = 0;
  let isTold = false;

  const drop = (reason: string): void => void dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
  const accepts = (address: string): boolean => sources.allows(address);
  const warnOf = (leftOut: readonly string[]): void => {
    if (leftOut.length > 0)
      log.warn({ records: leftOut.slice(0, 10), count: leftOut.length }, "records that DNS cannot carry are left out");
  };
  const others = new OtherNames(() => drop("forward-limit"), options.siblings);
  const useUpstreams = (upstreams: readonly Upstream[]): void => others.use(serversOf(upstreams, options));
  const untilTold = createUntilTold(options.patienceMs ?? 0);
  const onMessage = createMessageHandler({ zone, wires, others, sources, counts, answers, drop, untilTold });

  return {
    apply(changes, state) {
      isTold ||= state.synced;
      revision = state.revision;
      warnOf(zone.apply(changes, { all: state.all, synced: state.synced, serial: secondsNow() }));
      if (state.synced) untilTold.release();
    },
    async take({ changes, begins, ends, serial, synced, revision: next }) {
      // What is not known whole takes nothing away.
      if (begins && synced) zone.beginAll();
      isTold ||= synced;
      warnOf(zone.say(changes, serial));
      if (!ends) return;
      while (!zone.endAll(GONE_PER_TURN)) await nextTurn();
      zone.synced = synced;
      revision = next;
      if (synced) untilTold.release();
    },
    restore(changes) {
      if (!isTold) warnOf(zone.say(changes, secondsNow()));
      return !isTold;
    },
    everything: () => zone.everything(),
    allowSources: (cidrs) => sources.replace(cidrs),
    useUpstreams,
    probeCameBack: (key) => others.probeCameBack(key),
    async run(signal) {
      if (options.upstreams) useUpstreams(options.upstreams);
      await Promise.all(
        listen.map((wanted) =>
          listenAt(wanted, { accepts, onMessage, onDrop: drop, reusePort }, signal, (state) => places.set(wanted, state)),
        ),
      );
      untilTold.release();
      others.close();
    },
    listening: () => places.allBound,
    bound: () => places.bound(),
    problems: () => [...places.problems(), ...others.problems()],
    stats: () => ({
      revision,
      names: zone.size,
      ...counts,
      answers: answers.rows(),
      dropped: Object.fromEntries(dropped),
      forwarding: others.stats(),
    }),
  };
}

/** Which of the addresses are bound. */
function createPlaces(listen: readonly ListenAddress[], { log, onBound }: DnsResponderOptions) {
  const held = new Map<ListenAddress, ListenAddress>();
  const problems = new Map<ListenAddress, string>();
  const all = Promise.withResolvers<readonly ListenAddress[]>();
  return {
    allBound: all.promise,
    bound: (): readonly ListenAddress[] => [...held.values()],
    problems: (): readonly string[] => [...problems.values()],
    set(wanted: ListenAddress, state: ListenState): void {
      if (state.kind === "bound") {
        problems.delete(wanted);
        held.set(wanted, state.at);
        log.info(state.at, "answering DNS questions");
        if (held.size === listen.length) all.resolve([...held.values()]);
      } else {
        if (problems.get(wanted) === state.problem) return;
        problems.set(wanted, state.problem);
        log.warn({ ...wanted, problem: state.problem }, "cannot answer DNS questions at this address yet");
      }
      onBound?.();
    },
  };
}

/** Whoever asks himself waits for himself. */
function serversOf(upstreams: readonly Upstream[], { listen, stubs = [] }: ResponderFacts): Servers {
  const own = new Set(listen.map(serverKey));
  const others = (servers: readonly Upstream[]): Upstream[] => servers.filter((server) => !own.has(serverKey(server)));
  return { upstreams: others(upstreams), stubs: stubs.map(({ suffix, servers }) => ({ suffix, servers: others(servers) })) };
}

function secondsNow(): number {
  return Math.floor(Date.now() / 1000);
}
