import type { Logger } from "pino";
import type { DnsChange } from "#agent/compile/dns-view.ts";

/** One address and port to answer at, over UDP and TCP. Port 0 = any free one, the same for both. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

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
