import type { Cause } from "#proto/error.ts";
import { fault, invalid } from "#proto/parse.ts";
import { parseIp } from "#proto/ip.ts";
import { DEFAULT_AFFINITY_SECONDS, type Service } from "#proto/service.ts";
import { nodeAddressClaim } from "./node.ts";
import { virtualAddressFault } from "./ranges.ts";
import { addressClaims, withAddresses, type AddressParts } from "./service-addresses.ts";
import { portClaims, withNodePorts, type PortParts } from "./service-ports.ts";

export interface ServiceParts {
  readonly addresses: AddressParts;
  readonly ports: PortParts;
  readonly isNodeAddress: (claim: string) => Promise<boolean>;
}

export function serviceClaims(service: Service): string[] {
  return [...addressClaims(service), ...portClaims(service)];
}

/** The service with what the server decides filled in. Throws Invalid with every fault at once. */
export async function admitService(
  previous: Service | undefined,
  next: Service,
  parts: ServiceParts,
): Promise<{ service: Service; warnings: string[] }> {
  const faults: Cause[] = [];
  const withIps = await withAddresses(previous?.spec, withDefaults(previous?.spec, next.spec, faults), parts.addresses, faults);
  await checkOutsideAddresses(previous?.spec, withIps, parts, faults);
  // Only then: a service that is refused takes no port from the walk.
  const spec = faults.length > 0 ? withIps : await withNodePorts(previous?.spec, withIps, parts.ports, faults);
  if (faults.length > 0) throw invalid("Service", next.metadata.name, faults);
  return { service: { ...next, spec }, warnings: warningsFor(spec) };
}

type Spec = Service["spec"];

/** Defaults that depend on other fields; those of single fields are the schema's. */
function withDefaults(previous: Spec | undefined, spec: Spec, faults: Cause[]): Spec {
  const isOutward = spec.type === "NodePort" || spec.type === "LoadBalancer";
  const { externalTrafficPolicy, sessionAffinityConfig, healthCheckNodePort, ...rest } = spec;
  const hasExternal = isOutward || (spec.externalIPs ?? []).length > 0;
  if (externalTrafficPolicy !== undefined && !hasExternal && externalTrafficPolicy !== previous?.externalTrafficPolicy)
    faults.push(
      fault("spec.externalTrafficPolicy", "may only be set for externally-accessible services", { value: externalTrafficPolicy }),
    );
  const needsHealthPort = spec.type === "LoadBalancer" && externalTrafficPolicy === "Local";
  if (healthCheckNodePort !== undefined && !needsHealthPort && healthCheckNodePort !== previous?.healthCheckNodePort)
    faults.push(
      fault("spec.healthCheckNodePort", "may only be set for the type LoadBalancer with externalTrafficPolicy Local", {
        value: healthCheckNodePort,
      }),
    );
  return {
    ...rest,
    ports: spec.ports.map((port) => ({ ...port, targetPort: port.targetPort ?? port.port })),
    ...(hasExternal && { externalTrafficPolicy: externalTrafficPolicy ?? "Cluster" }),
    ...(needsHealthPort && healthCheckNodePort !== undefined && { healthCheckNodePort }),
    ...(spec.sessionAffinity === "ClientIP" && {
      sessionAffinityConfig: sessionAffinityConfig ?? { clientIP: { timeoutSeconds: DEFAULT_AFFINITY_SECONDS } },
    }),
    ...(spec.type === "LoadBalancer" && { allocateLoadBalancerNodePorts: spec.allocateLoadBalancerNodePorts ?? true }),
  };
}

/** A service that says it is at a host's own address, or at another service's, would take that one's traffic. */
async function checkOutsideAddresses(previous: Spec | undefined, spec: Spec, parts: ServiceParts, faults: Cause[]): Promise<void> {
  const known = new Set([...(previous?.externalIPs ?? []), previous?.loadBalancerIP]);
  const asked = [
    ...(spec.externalIPs ?? []).map((ip, i) => [`spec.externalIPs[${i}]`, ip] as const),
    ...(spec.loadBalancerIP === undefined ? [] : ([["spec.loadBalancerIP", spec.loadBalancerIP]] as const)),
  ];
  for (const [field, ip] of asked) {
    if (known.has(ip)) continue;
    const virtual = virtualAddressFault(parts.addresses.ranges, field, ip);
    if (virtual) faults.push(virtual);
    else if (parseIp(ip) && (await parts.isNodeAddress(nodeAddressClaim(ip))))
      faults.push(fault(field, "is the address of a host", { value: ip }));
  }
}

function warningsFor({ type, externalIPs = [] }: Spec): string[] {
  const warnings: string[] = [];
  if (type === "NodePort" || type === "LoadBalancer")
    warnings.push(`spec.type: ${type} is kept and its node ports are reserved, but hosts serve only the cluster IP so far`);
  if (externalIPs.length > 0) warnings.push("spec.externalIPs: is kept, but hosts serve only the cluster IP so far");
  return warnings;
}
