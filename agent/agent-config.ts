import type { Logger } from "pino";
import type { SystemdNotices } from "#proto/systemd.ts";
import type { Joined } from "./config.ts";
import type { ConntrackSettings } from "./dataplane/conntrack-settings.ts";
import type { ListenAddress } from "./dns/listen.ts";
import type { StubDomain } from "./dns/stub-domains.ts";
import type { Upstream } from "./dns/upstream-udp.ts";

/** All that running takes: what was agreed at join, and the flags. */
export interface AgentConfig extends Joined {
  readonly credentialsFile: string;
  readonly stateDir: string;
  readonly workloadsDir: string;
  /** Whose containers are registered; undefined = no engine is asked. */
  readonly dockerSocket: string | undefined;
  /** Whether the networks of its containers are announced to the other hosts. */
  readonly dockerRouted: boolean;
  readonly dataplane: string;
  /** Where DNS answers besides the DNS service's virtual IPs. */
  readonly dnsListen: readonly ListenAddress[];
  /** How many threads answer DNS questions. */
  readonly dnsListeners: number;
  readonly dnsUpstreams: readonly Upstream[];
  /** Of agent.yaml, then of the command line: of two for one domain the last counts. */
  readonly dnsStubs: readonly StubDomain[];
  /** Of agent.yaml and of the command line: who may ask DNS besides this host's own networks. */
  readonly dnsAllow: readonly string[];
  readonly configureResolver: boolean;
  readonly masqueradeAll: boolean;
  /** Where node ports are; empty = every address of the host. */
  readonly nodePortCidrs: readonly string[];
  readonly conntrack: ConntrackSettings;
  /** Where /readyz and its like are answered; undefined = nowhere. */
  readonly healthzListen: ListenAddress | undefined;
  readonly notices: SystemdNotices;
  readonly log: Logger;
}
