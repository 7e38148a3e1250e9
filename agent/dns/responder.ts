import type { Logger } from "pino";
import type { DnsChange } from "#agent/compile/dns-view.ts";
import { Forwarder } from "./forward.ts";
import { listenAt } from "./listen.ts";
import type { ListenAddress } from "./listen.ts";
import { createMessageHandler } from "./serve.ts";
import { AllowedSources } from "./sources.ts";
import { followHostUpstreams, RESOLV_CONF } from "./upstreams.ts";
import type { ResolvConfPaths } from "./upstreams.ts";
import { ZoneIndex } from "./zone.ts";

export interface DnsResponderOptions {
  /** The DNS service's virtual IPs and HOST_LOCAL_ADDRESS (address.ts), port 53. An address that is not there yet is retried. */
  readonly listen: readonly ListenAddress[];
  /** `cluster.local`. */
  readonly domain: string;
  readonly serviceCidrs: readonly string[];
  /** Addresses of the domain's name server ns.dns.<domain>: the DNS service's virtual IPs. */
  readonly dnsIps: readonly string[];
  /** Prefixes that may ask: the node's own networks and its containers'. Loopback and our own addresses always may. */
  readonly allowedSources: readonly string[];
  /** Where other names are asked; absent = what the host's resolv.conf says, followed as it changes. */
  readonly upstreams?: readonly ListenAddress[] | undefined;
  /** Absent = where every host has them. */
  readonly resolvConf?: ResolvConfPaths | undefined;
  /** Where the servers are kept that the host named before it was told to ask us; absent = until the process ends. */
  readonly knownUpstreamsFile?: string | undefined;
  readonly log: Pick<Logger, "info" | "warn">;
}

export interface AppliedState {
  readonly revision: number;
  /** The state is complete (also when it is old and came from disk): a name that is not in it does not exist. */
  readonly synced: boolean;
  /** The changes are everything there is; what they do not name goes. */
  readonly all: boolean;
}

export interface DnsResponder {
  /** Takes effect for the next question; the work follows the changes. */
  apply(changes: readonly DnsChange[], state: AppliedState): void;
  /** The prefixes that may ask, when the node's networks change. */
  allowSources(cidrs: readonly string[]): void;
  /** Binds, answers until the signal, drains, closes. Never rejects for an address that cannot be bound: see problems(). */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves when every address is bound. */
  listening(): Promise<readonly ListenAddress[]>;
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
  readonly forwardFailed: number;
  readonly refused: number;
  /** Packets not answered, by reason. */
  readonly dropped: Readonly<Record<string, number>>;
}

/** The node's DNS server: names of the cluster from what `apply` was told, all others through the upstreams. */
export function createDnsResponder(options: DnsResponderOptions): DnsResponder {
  const { listen, log } = options;
  const own = listen.map(({ address }) => address);
  const zone = new ZoneIndex(options, secondsNow());
  const forwarder = new Forwarder();
  const sources = new AllowedSources(own, options.allowedSources);
  const counts = { queries: 0, local: 0, forwarded: 0, forwardFailed: 0, refused: 0 };
  const dropped = new Map<string, number>();
  const bindProblems = new Map<ListenAddress, string>();
  const bound = new Map<ListenAddress, ListenAddress>();
  const allBound = Promise.withResolvers<readonly ListenAddress[]>();
  let revision = 0;

  const drop = (reason: string): void => void dropped.set(reason, (dropped.get(reason) ?? 0) + 1);
  const accepts = (address: string): boolean => sources.allows(address);

  const onMessage = createMessageHandler({ zone, forwarder, sources, counts, drop });

  return {
    apply(changes, state) {
      revision = state.revision;
      const leftOut = zone.apply(changes, { all: state.all, synced: state.synced, serial: secondsNow() });
      if (leftOut.length > 0)
        log.warn({ records: leftOut.slice(0, 10), count: leftOut.length }, "records that DNS cannot carry are left out");
    },
    allowSources: (cidrs) => sources.replace(cidrs),
    async run(signal) {
      const loops = listen.map((wanted) =>
        listenAt(wanted, { accepts, onMessage, onDrop: drop }, signal, (state) => {
          if (state.kind === "bound") {
            bindProblems.delete(wanted);
            bound.set(wanted, state.at);
            log.info(state.at, "answering DNS questions");
            if (bound.size === listen.length) allBound.resolve([...bound.values()]);
          } else if (bindProblems.get(wanted) !== state.problem) {
            bindProblems.set(wanted, state.problem);
            log.warn({ ...wanted, problem: state.problem }, "cannot answer DNS questions at this address yet");
          }
        }),
      );
      if (options.upstreams) forwarder.use(options.upstreams);
      else
        loops.push(
          followHostUpstreams(
            {
              paths: options.resolvConf ?? RESOLV_CONF,
              own,
              knownFile: options.knownUpstreamsFile,
              log,
              onChange: (upstreams) => {
                log.info({ upstreams: upstreams.map(({ address }) => address) }, "upstream name servers");
                forwarder.use(upstreams);
              },
            },
            signal,
          ),
        );
      await Promise.all(loops);
      forwarder.close();
    },
    listening: () => allBound.promise,
    problems: () => [...bindProblems.values(), ...forwarder.problems()],
    stats: () => ({ revision, names: zone.size, ...counts, dropped: Object.fromEntries(dropped) }),
  };
}

function secondsNow(): number {
  return Math.floor(Date.now() / 1000);
}
