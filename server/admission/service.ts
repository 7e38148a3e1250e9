import { isDeepStrictEqual } from "node:util";
import type { Cause } from "#proto/error.ts";
import { fault } from "#proto/parse.ts";
import { DEFAULT_AFFINITY_SECONDS, LOAD_BALANCER_IPS_ANNOTATION, type Service } from "#proto/service.ts";
import { withCheckedIngress, withLoadBalancer, type BalancerParts } from "./load-balancer.ts";
import { canonicalIp, newPortsOf, outsideClaims, outsideFault, portsOf, type OutsideParts } from "./outside-addresses.ts";
import { refused } from "./refused.ts";
import { addressClaims, withAddresses, type AddressParts } from "./service-addresses.ts";
import { checkChoices, withSourceRanges } from "./service-annotations.ts";
import { portClaims, withNodePorts, type PortParts } from "./service-ports.ts";
import { warningsFor } from "./service-warnings.ts";

export interface ServiceParts {
  readonly addresses: AddressParts;
  readonly ports: PortParts;
  readonly balancer: BalancerParts;
}

export function serviceClaims(service: Service): string[] {
  return [...addressClaims(service), ...portClaims(service), ...outsideClaims(service)];
}

/** The service with what the server decides filled in. Throws Invalid with every fault at once, those known already among them. */
export async function admitService(
  previous: Service | undefined,
  next: Service,
  parts: ServiceParts,
  known: readonly Cause[],
): Promise<{ service: Service; warnings: string[] }> {
  const faults = [...known];
  checkChoices(next, faults);
  // Most rules ask for the type.
  if (known.some(({ field }) => field === "spec" || field === "spec.type")) throw refused("Service", next, faults, known);
  const ranged = withSourceRanges(previous, next, faults);
  const spec = await withAddresses(previous?.spec, withDefaults(previous?.spec, ranged.spec, faults), parts.addresses, faults);
  await checkExternalIps(previous, { ...ranged, spec }, parts.balancer.outside, faults);
  const balanced = await withLoadBalancer(previous, { ...ranged, spec }, parts.balancer, faults);
  // Last: a service that is refused takes no port from the walk.
  const service = { ...balanced, spec: await withNodePorts(previous?.spec, spec, parts.ports, faults) };
  if (faults.length > 0) throw refused("Service", next, faults, known);
  return { service, warnings: warningsFor(service, parts.balancer.ranges) };
}

/** The status that somebody wrote: its addresses are the service's as if the server had given them. Throws Invalid. */
export async function admitServiceStatus(
  previous: Service | undefined,
  next: Service,
  parts: Pick<ServiceParts, "balancer">,
  known: readonly Cause[],
): Promise<Service> {
  const faults = [...known];
  const service = await withCheckedIngress(previous, next, parts.balancer, faults);
  if (faults.length > 0) throw refused("Service", next, faults, known);
  return service;
}

/** Whether it may come to hold other addresses outside of the virtual ranges: these are no claims that the store alone could tell apart. */
export function changesOutside(previous: Service | undefined, next: Service): boolean {
  const { spec, status } = next;
  if (spec.type !== "LoadBalancer" && (spec.externalIPs ?? []).length === 0) return false;
  const waits = spec.type === "LoadBalancer" && (status.loadBalancer.ingress ?? []).length === 0;
  return waits || !previous || !isDeepStrictEqual(outsidePart(previous), outsidePart(next));
}

function outsidePart(service: Service): unknown {
  const { metadata, spec, status } = service;
  const { type, externalIPs, loadBalancerIP, ipFamilies, ipFamilyPolicy, clusterIPs } = spec;
  const asked = [loadBalancerIP, metadata.annotations?.[LOAD_BALANCER_IPS_ANNOTATION]];
  return { type, externalIPs, asked, ipFamilies, ipFamilyPolicy, clusterIPs, ports: portsOf(service), given: status.loadBalancer };
}

type Spec = Service["spec"];

/** Defaults that depend on other fields; those of single fields are the schema's. */
function withDefaults(previous: Spec | undefined, spec: Spec, faults: Cause[]): Spec {
  const isOutward = spec.type === "NodePort" || spec.type === "LoadBalancer";
  const { externalTrafficPolicy, sessionAffinityConfig, ...rest } = withBalancerFields(previous, spec, faults);
  const hasExternal = isOutward || (spec.externalIPs ?? []).length > 0;
  if (externalTrafficPolicy !== undefined && !hasExternal && externalTrafficPolicy !== previous?.externalTrafficPolicy)
    faults.push(
      fault("spec.externalTrafficPolicy", "may only be set for externally-accessible services", { value: externalTrafficPolicy }),
    );
  return {
    ...rest,
    ports: spec.ports.map((port) => ({ ...port, targetPort: port.targetPort ?? port.port })),
    ...(hasExternal && { externalTrafficPolicy: externalTrafficPolicy ?? "Cluster" }),
    ...(spec.sessionAffinity === "ClientIP" && {
      sessionAffinityConfig: {
        ...sessionAffinityConfig,
        clientIP: sessionAffinityConfig?.clientIP ?? { timeoutSeconds: DEFAULT_AFFINITY_SECONDS },
      },
    }),
  };
}

/** Fields that only the type LoadBalancer has: they go with it, unless somebody sets them just then. */
function withBalancerFields(previous: Spec | undefined, spec: Spec, faults: Cause[]): Spec {
  const { allocateLoadBalancerNodePorts, loadBalancerClass, ...rest } = spec;
  if (spec.type === "LoadBalancer") {
    if (previous?.type === "LoadBalancer" && previous.loadBalancerClass !== loadBalancerClass)
      faults.push(fault("spec.loadBalancerClass", "may not change once set", { value: loadBalancerClass ?? null }));
    return { ...spec, allocateLoadBalancerNodePorts: allocateLoadBalancerNodePorts ?? true };
  }
  const message = "may only be used when `type` is 'LoadBalancer'";
  if (allocateLoadBalancerNodePorts !== undefined && allocateLoadBalancerNodePorts !== previous?.allocateLoadBalancerNodePorts)
    faults.push(
      fault("spec.allocateLoadBalancerNodePorts", message, { reason: "FieldValueForbidden", value: allocateLoadBalancerNodePorts }),
    );
  if (loadBalancerClass !== undefined && loadBalancerClass !== previous?.loadBalancerClass)
    faults.push(fault("spec.loadBalancerClass", message, { reason: "FieldValueForbidden", value: loadBalancerClass }));
  return rest;
}

/** Only what is new: a service that was fine stays fine. */
async function checkExternalIps(previous: Service | undefined, next: Service, parts: OutsideParts, faults: Cause[]): Promise<void> {
  if (outsideClaims(next).length === 0) return;
  const held = new Set(previous ? outsideClaims(previous) : []);
  for (const [i, text] of (next.spec.externalIPs ?? []).entries()) {
    const ip = canonicalIp(text);
    const ports = newPortsOf(held, next, ip);
    const why = ports.length === 0 ? undefined : await outsideFault(ip, ports, parts);
    if (why !== undefined) faults.push(fault(`spec.externalIPs[${i}]`, why, { value: text }));
  }
}
