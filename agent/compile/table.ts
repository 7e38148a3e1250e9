import type { IpFamily } from "#proto/ip.ts";
import type { Protocol } from "#proto/meta.ts";

/**
 * What this host must do with packets: the single input of every data plane driver. Plain immutable data, canonical (sorted, no duplicates), so
 * that equal states are deeply equal. Behaviour is decided when it is made (compile.ts); a driver only renders.
 */

/** `namespace/name`. */
export type ServiceKey = string;

/**
 * What kind of place clients connect to. cluster: a virtual IP out of the service ranges. loadBalancer: a virtual IP from elsewhere, which is the
 * service's alone. external: somebody else's address (externalIPs), of which the service has only its ports. nodePort: a port of the host itself.
 */
export type FrontendScope = "cluster" | "loadBalancer" | "external" | "nodePort";

/** One address, protocol and port that clients connect to, and who answers there. */
export interface Frontend {
  /** `namespace/name:port`, or `namespace/name` for an unnamed port; for comments and logs. */
  readonly id: string;
  readonly family: IpFamily;
  readonly scope: FrontendScope;
  /** "" for a node port: it is at every address of the host that HostTable.nodePortCidrs names. */
  readonly address: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** Sorted by address and port. Where `outside` is set, they are for connections from this host and from its containers (localCidrs) only. */
  readonly backends: readonly Backend[];
  /** What a packet gets when there are no backends: drop = endpoints exist, but the policy Local allows none of them here. */
  readonly whenEmpty: "reject" | "drop";
  /** externalTrafficPolicy Local: who gets the connections that come from off the host. Their source address stays what it is. */
  readonly outside: OutsideChoice | undefined;
  /**
   * Sources that may connect, of this family; others are dropped before translation. undefined = all, empty = none. loadBalancer only. Where one of them
   * holds an address of this host, the frontend's own address may connect too: the host's packets have it where the host holds it. A driver adds it, so
   * that services with the same ranges can share them.
   */
  readonly sourceRanges: readonly string[] | undefined;
  /** Endpoints that take no new flows and still serve the ones they have. UDP only: the kernel keeps TCP connections anyway. Sorted. */
  readonly draining: readonly { readonly address: string; readonly port: number }[];
  /** Clients stay with their endpoint for so long after each new connection; undefined = no affinity. */
  readonly affinitySeconds: number | undefined;
  /** IPVS: how it chooses (rr, wrr, lc, sh, mh …); undefined = as the driver does by itself. Other drivers draw at random by weight. */
  readonly scheduler: string | undefined;
}

export interface OutsideChoice {
  /** Local ones only. Sorted by address and port. */
  readonly backends: readonly Backend[];
  readonly whenEmpty: "reject" | "drop";
}

export interface Backend {
  readonly address: string;
  readonly port: number;
  /** On this host: it may call itself through the virtual IP (hairpin). */
  readonly isLocal: boolean;
  /** Share of new connections, relative to the other backends; ≥ 1. */
  readonly weight: number;
}

/** Everything that one Service means for the kernel of this host. */
export interface CompiledService {
  readonly key: ServiceKey;
  /** Sorted by scope, address, protocol and port; no two alike in all four. */
  readonly frontends: readonly Frontend[];
  /** Service.spec.healthCheckNodePort: load balancers ask there whether this host has endpoints. */
  readonly healthCheck: HealthCheckPort | undefined;
  /** Addresses that the Service asks for and that this host does not serve, each with the reason, for people. Sorted. */
  readonly refused: readonly { readonly address: string; readonly why: string }[];
}

export interface HealthCheckPort {
  readonly port: number;
  /** Distinct addresses of ready local endpoints. */
  readonly localEndpoints: number;
}

/** What holds for the host as a whole. */
export interface HostTable {
  /** Ranges of virtual IPs. */
  readonly serviceCidrs: readonly string[];
  /** Addresses of this node. */
  readonly nodeIps: readonly string[];
  /** Prefixes behind this host (container bridges). */
  readonly localCidrs: readonly string[];
  /** At which this host answers names: what is behind it may ask there, whatever a firewall makes of unknown ports. */
  readonly dnsIps: readonly string[];
  /** Masquerade everything that goes through a virtual IP; not what goes through other addresses of a service. */
  readonly masqueradeAll: boolean;
  /** Addresses of the host at which node ports are; empty (or none of a family) = all of it but loopback. Virtual IPs never. */
  readonly nodePortCidrs: readonly string[];
  /** Families in which Services are reached from off the host: such connections may have to go on to other hosts, so the kernel must forward. */
  readonly forwards: readonly IpFamily[];
}

export interface ForwardingTable {
  readonly host: HostTable;
  readonly services: ReadonlyMap<ServiceKey, CompiledService>;
}

/** What became of one Service; `next` undefined = it has nothing for the kernel any more. */
export interface ServiceChange {
  readonly key: ServiceKey;
  readonly previous: CompiledService | undefined;
  readonly next: CompiledService | undefined;
}

/** Do both mean the same to the kernel? Tables are canonical, so equal data has equal text. */
export function sameService(a: CompiledService | undefined, b: CompiledService | undefined): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

export function idOf(service: ServiceKey, portName: string | undefined): string {
  return portName === undefined || portName === "" ? service : `${service}:${portName}`;
}
