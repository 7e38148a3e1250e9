import { contains, endpointAddressFault, formatIp, parseIp, type Ip, type IpFamily } from "#proto/ip.ts";
import { clusterIpsOf, isHeadless, type Service, type ServicePort } from "#proto/service.ts";
import type { HostFacts } from "./host-facts.ts";
import { sloppyIp } from "./sloppy-ip.ts";
import { sourceRangesOf } from "./source-ranges.ts";
import type { CompiledService, FrontendScope } from "./table.ts";

/** Where clients connect to a Service, each address with each port once, and who may. */

export interface Place {
  readonly scope: FrontendScope;
  readonly family: IpFamily;
  /** Canonical; "" for a node port. */
  readonly address: string;
  readonly port: number;
  readonly servicePort: ServicePort;
  readonly sourceRanges: readonly string[] | undefined;
}

export type Refused = CompiledService["refused"][number];

export interface Places {
  readonly places: readonly Place[];
  readonly refused: readonly Refused[];
}

const NOWHERE: Places = { places: [], refused: [] };

export function placesOf(service: Service, facts: HostFacts): Places {
  const clusterIps = clusterIpsOf(service)
    .map(parseIp)
    .filter((ip) => ip !== undefined);
  // Headless, ExternalName, or no address allocated yet: then nothing of it is for the kernel.
  if (isHeadless(service) || clusterIps.length === 0) return NOWHERE;
  const families = new Set(clusterIps.map(({ family }) => family));
  const refused = new Map<string, string>();
  const accepted = (texts: readonly string[]): readonly Ip[] => {
    const checked = texts.map((text) => ({ text, ip: sloppyIp(text) }));
    for (const { text, ip } of checked) {
      const why = refusalOf(ip, families, facts);
      if (why !== undefined) refused.set(ip ? formatIp(ip) : text.slice(0, 64), why);
    }
    return checked.flatMap(({ ip }) => (ip && !refused.has(formatIp(ip)) ? [ip] : []));
  };
  const balancers = accepted(loadBalancerIpsOf(service));
  const external = accepted(service.spec.externalIPs ?? []);
  // Of two that are alike the first stays: an external address that is a load balancer's too is the latter.
  const places = new Map<string, Place>();
  const add = (place: Place): void => {
    const key = `${place.family} ${place.address} ${place.servicePort.protocol} ${place.port}`;
    if (!places.has(key)) places.set(key, place);
  };
  const addAll = (scope: FrontendScope, addresses: readonly Ip[]): void => {
    for (const ip of addresses) {
      const sourceRanges = scope === "loadBalancer" ? sourceRangesOf(service.spec.loadBalancerSourceRanges, ip.family) : undefined;
      const at = { scope, family: ip.family, address: formatIp(ip), sourceRanges };
      for (const servicePort of service.spec.ports) add({ ...at, port: servicePort.port, servicePort });
    }
  };
  addAll("cluster", clusterIps);
  addAll("loadBalancer", balancers);
  addAll("external", external);
  for (const family of families)
    for (const servicePort of nodePortsOf(service))
      add({ scope: "nodePort", family, address: "", port: servicePort.nodePort, servicePort, sourceRanges: undefined });
  return { places: [...places.values()], refused: Array.from(refused, ([address, why]) => ({ address, why })).toSorted(byAddress) };
}

/** Entries of mode Proxy are somebody's who answers there himself, and names have no address that could be taken. */
function loadBalancerIpsOf({ spec, status }: Service): readonly string[] {
  if (spec.type !== "LoadBalancer") return [];
  const ingress = status.loadBalancer.ingress ?? [];
  return ingress.flatMap(({ ip, ipMode = "VIP" }) => (ip === undefined || ip === "" || ipMode !== "VIP" ? [] : [ip]));
}

function nodePortsOf({ spec }: Service): readonly (ServicePort & { readonly nodePort: number })[] {
  if (spec.type !== "NodePort" && spec.type !== "LoadBalancer") return [];
  return spec.ports.flatMap((port) => (port.nodePort === undefined ? [] : [{ ...port, nodePort: port.nodePort }]));
}

/**
 * Why this host does not serve an address from outside the ranges of virtual IPs. Whoever may write a Service could otherwise take the traffic to this
 * host, its gateway or its name server (CVE-2020-8554).
 */
function refusalOf(ip: Ip | undefined, families: ReadonlySet<IpFamily>, facts: HostFacts): string | undefined {
  if (!ip) return "it is no IP address";
  const address = formatIp(ip);
  const fault = endpointAddressFault(address);
  if (fault !== undefined) return `it ${fault}`;
  const reserved = facts.reserved.get(address);
  if (reserved !== undefined) return reserved;
  if (facts.dnsIps.has(address)) return "it is an address of the DNS service";
  if (facts.serviceCidrs.some((cidr) => contains(cidr, ip))) return "it is in the range of virtual IPs that the server allocates";
  return families.has(ip.family) ? undefined : `the Service has no ${ip.family} address of its own`;
}

function byAddress(a: Refused, b: Refused): number {
  return a.address < b.address ? -1 : a.address > b.address ? 1 : 0;
}
