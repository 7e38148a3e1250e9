import type { IpFamily } from "#proto/ip.ts";
import type { ServiceInput } from "#proto/service.ts";
import type { Machine } from "./world.ts";

/** What a row of the flow table says. Names are symbolic (world.ts, names.ts), so that each row holds for IPv4 and for IPv6. */

export type Mode = "iptables" | "nftables" | "ipvs";

/** Processes send from their machine's own address; h1b: a process of host 1 that has bound its second address. */
export type Sender = Exclude<Machine, "bridge" | "h3">;

export interface EndpointSketch {
  readonly at: Exclude<Machine, "h1b" | "bridge" | "out">;
  /** Port of the endpoint, for services of one port; 8080 (5353 for UDP) unless the service's targetPort says otherwise. */
  readonly port?: number;
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
  readonly weight?: number;
  /** null = a slice that somebody wrote by hand, without nodeName. */
  readonly node?: null;
  readonly forZones?: readonly string[];
  readonly forNodes?: readonly string[];
}

type Spec = ServiceInput["spec"];
export type PortSketch = Readonly<NonNullable<Spec["ports"]>[number]>;

export interface ServiceSketch {
  /** Its own endpoints; absent = none. */
  readonly endpoints?: readonly EndpointSketch[];
  /** Of Service.spec, what is not the default: one port 80, a virtual IP of each family. */
  readonly spec?: Readonly<Partial<Omit<Spec, "ports">>> & { readonly ports?: readonly PortSketch[] };
  readonly annotations?: Readonly<Record<string, string>>;
  /** Adds what makes it reachable from elsewhere: a node port per port, an address of a load balancer, an external IP. */
  readonly has?: readonly ("nodePort" | "lb" | "ext")[];
  readonly ipMode?: "VIP" | "Proxy";
  /** Where its virtual IP is, instead of next to the others. */
  readonly vip?: "first" | "last" | "none";
  readonly families?: readonly IpFamily[];
}

/** What holds for the host as a whole; flows that want something else are in a table of their own. */
export type Setting = "plain" | "masquerade-all" | "node-port-cidrs" | "no-local-cidrs";

export type SeenAs = "client" | "host";

export type Instead = "REJECT" | "DROP" | "REFUSED" | "ECHO" | "UNTOUCHED";

export interface Flow {
  /** A sentence of the specification. */
  readonly name: string;
  readonly services: readonly ServiceSketch[];
  readonly from: Sender;
  /**
   * `place:port`, `place:port/udp` or `place/ping`. Places: a machine; `lo`; `vip`, `lb`, `ext` of the row's first service, `vip2` … of its second;
   * `gap`: an address of the service range next to the row's own that nobody has; `far-gap`: one with no neighbours. Ports: `np`, the node port of
   * the first port of the row's first service; `np-2` that of its second port; `np2` of its second service.
   */
  readonly to: string;
  /** Endpoints (`h2`, `h2:9090`), or what happens instead. REFUSED: rejected or dropped, as long as it goes nowhere. */
  readonly want: readonly string[] | Instead;
  /** Equal ones unless said otherwise. */
  readonly shares?: readonly number[];
  /** Whose address the endpoints see, all or each; the client's own unless said otherwise. */
  readonly seenAs?: SeenAs | readonly SeenAs[];
  /** The row is about one family alone. */
  readonly only?: IpFamily;
  readonly setting?: Setting;
  /** The kernel walk makes so many connections; 20,000 = within 2 %. */
  readonly draws?: number;
  /** Where the row does not hold, and why. It is printed. */
  readonly except?: readonly Exception[];
}

export interface Exception {
  readonly mode: Mode;
  readonly family?: IpFamily;
  /** What the mode does instead; absent = it is not asked. */
  readonly want?: Flow["want"];
  readonly why: string;
}

/** An endpoint; `h2` alone is enough for most. */
export function at(machine: EndpointSketch["at"], more: Omit<EndpointSketch, "at"> = {}): EndpointSketch {
  return { at: machine, ...more };
}

export const UNREADY = { ready: false, serving: false } as const;
/** On its way out, and still answering. */
export const GOING = { ready: false, serving: true, terminating: true } as const;
/** On its way out, and silent. */
export const GONE = { ready: false, serving: false, terminating: true } as const;

/** A row's only service, with these endpoints. */
export function web(endpoints: readonly EndpointSketch[], more: Omit<ServiceSketch, "endpoints"> = {}): readonly [ServiceSketch] {
  return [{ endpoints, ...more }];
}
