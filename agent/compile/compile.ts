import { formatCidr, type IpFamily } from "#proto/ip.ts";
import { DEFAULT_AFFINITY_SECONDS, PROXY_NAME_LABEL, SCHEDULER_ANNOTATION, type Service } from "#proto/service.ts";
import type { EndpointSlice } from "#proto/endpoint-slice.ts";
import type { ClusterState, Touched } from "#agent/sync/state.ts";
import { chooseEndpoints, type EndpointChoice, type Target } from "./endpoints.ts";
import { cidrsIn, hostFactsOf, type HostFacts, type NodeContext } from "./host-facts.ts";
import { canonicalCidrs, canonicalIps, sloppyCidr } from "./sloppy-ip.ts";
import { placesOf, type Place } from "./places.ts";
import {
  idOf,
  sameService,
  type CompiledService,
  type ForwardingTable,
  type Frontend,
  type HealthCheckPort,
  type HostTable,
  type ServiceChange,
  type ServiceKey,
} from "./table.ts";

/** From what this host heard to what its kernel must do. Pure: the same state gives the same table, and a change costs what it touches. */

export type { NodeContext } from "./host-facts.ts";

/** As the kernel's modules are named, ip_vs_NAME: the word goes to a command line. */
const SCHEDULER = /^[a-z]{1,15}$/;

export function compileTable(state: ClusterState, node: NodeContext): ForwardingTable {
  const facts = hostFactsOf(state, node);
  const services = new Map<ServiceKey, CompiledService>();
  for (const key of state.services.keys()) {
    const compiled = compileWith(state, facts, key);
    if (compiled) services.set(key, compiled);
  }
  return { host: compileHost(state, node, forwardedFamilies(services.values())), services };
}

/** Only of the services that were touched, and only of those that now mean something else to the kernel. `touched.all`: use compileTable. */
export function compileChanges(
  previous: ReadonlyMap<ServiceKey, CompiledService>,
  state: ClusterState,
  touched: Pick<Touched, "services">,
  node: NodeContext,
): readonly ServiceChange[] {
  if (touched.services.size === 0) return [];
  const facts = hostFactsOf(state, node);
  const changes: ServiceChange[] = [];
  for (const key of [...touched.services].toSorted()) {
    const before = previous.get(key);
    const after = compileWith(state, facts, key);
    if (!sameService(before, after)) changes.push({ key, previous: before, next: after });
  }
  return changes;
}

/** Families with places besides virtual IPs, sorted. */
export function forwardedFamilies(services: Iterable<CompiledService>): readonly IpFamily[] {
  const found = new Set<IpFamily>();
  for (const { frontends } of services) for (const { scope, family } of frontends) if (scope !== "cluster") found.add(family);
  return [...found].toSorted();
}

export function compileHost(state: ClusterState, node: NodeContext, forwards: readonly IpFamily[]): HostTable {
  return {
    serviceCidrs: cidrsIn(state.cluster?.serviceCidrs ?? []).map(formatCidr),
    nodeIps: canonicalIps(node.addresses),
    localCidrs: canonicalCidrs(cidrsIn(node.localCidrs)),
    dnsIps: canonicalIps(state.cluster?.dnsIps ?? []),
    masqueradeAll: node.masqueradeAll,
    nodePortCidrs: canonicalCidrs(node.nodePortCidrs.map(sloppyCidr).filter((cidr) => cidr !== undefined)),
    forwards,
  };
}

/** undefined when the Service means nothing to this host: headless, ExternalName, without an address yet, another proxy's, or gone. */
export function compileService(state: ClusterState, node: NodeContext, key: ServiceKey): CompiledService | undefined {
  return compileWith(state, hostFactsOf(state, node), key);
}

function compileWith(state: ClusterState, facts: HostFacts, key: ServiceKey): CompiledService | undefined {
  const service = state.services.get(key);
  if (!service || service.metadata.labels?.[PROXY_NAME_LABEL] !== undefined) return undefined;
  const { places, refused } = placesOf(service, facts);
  if (places.length === 0 && refused.length === 0) return undefined;
  const slices = [...(state.slicesByService.get(key)?.values() ?? [])];
  const choiceOf = choices(service, slices, facts);
  const frontends = places
    .map((place) => frontendOf({ key, service, place, choice: choiceOf(place) }))
    // The agent of each host answers at the DNS service's address itself, unless somebody gave that service endpoints.
    .filter(({ address, backends }) => backends.length > 0 || !facts.dnsIps.has(address))
    .toSorted(inOrder);
  const healthCheck = healthCheckOf(service, places, choiceOf);
  const isNothing = frontends.length === 0 && refused.length === 0 && healthCheck === undefined;
  return isNothing ? undefined : { key, frontends, healthCheck, refused };
}

type ChoiceOf = (place: Place) => EndpointChoice;

/** Endpoints are looked through once for a port and family, at however many places that port is. */
function choices({ spec }: Service, slices: readonly EndpointSlice[], facts: HostFacts): ChoiceOf {
  const made = new Map<string, EndpointChoice>();
  return ({ family, servicePort: { name: portName = "", protocol } }) => {
    const key = `${family} ${protocol} ${portName}`;
    const known = made.get(key);
    if (known) return known;
    const question = { family, protocol, portName, publishNotReady: spec.publishNotReadyAddresses ?? false };
    const choice = chooseEndpoints(slices, question, facts);
    made.set(key, choice);
    return choice;
  };
}

interface FrontendSource {
  readonly key: ServiceKey;
  readonly service: Service;
  readonly place: Place;
  readonly choice: EndpointChoice;
}

function frontendOf({ key, service, place, choice }: FrontendSource): Frontend {
  const { spec, metadata } = service;
  const { scope, family, address, port, servicePort, sourceRanges } = place;
  const isInside = scope === "cluster";
  // Each policy for its own: the internal one for the virtual IP, the external one for every other place.
  const everybody = isInside && spec.internalTrafficPolicy === "Local" ? choice.here : choice.anywhere;
  const outside = !isInside && spec.externalTrafficPolicy === "Local" ? choice.here : undefined;
  const scheduler = metadata.annotations?.[SCHEDULER_ANNOTATION];
  return {
    id: idOf(key, servicePort.name),
    family,
    scope,
    address,
    protocol: servicePort.protocol,
    port,
    ...everybody,
    outside,
    sourceRanges,
    draining: servicePort.protocol === "UDP" ? without(choice.serving, [...everybody.backends, ...(outside?.backends ?? [])]) : [],
    affinitySeconds: affinityOf(service),
    scheduler: scheduler !== undefined && SCHEDULER.test(scheduler) ? scheduler : undefined,
  };
}

function without(targets: readonly Target[], chosen: readonly Target[]): readonly Target[] {
  const isChosen = new Set(chosen.map(({ address, port }) => `${address} ${port}`));
  return targets.filter(({ address, port }) => !isChosen.has(`${address} ${port}`));
}

function affinityOf({ spec }: Service): number | undefined {
  if (spec.sessionAffinity !== "ClientIP") return undefined;
  return spec.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS;
}

/** An endpoint counts once, however many ports it has. */
function healthCheckOf({ spec }: Service, places: readonly Place[], choiceOf: ChoiceOf): HealthCheckPort | undefined {
  const port = spec.healthCheckNodePort;
  if (spec.type !== "LoadBalancer" || spec.externalTrafficPolicy !== "Local" || port === undefined) return undefined;
  return { port, localEndpoints: new Set(places.flatMap((place) => choiceOf(place).readyHere)).size };
}

function inOrder(a: Frontend, b: Frontend): number {
  return (
    inText(a.scope, b.scope) ||
    inText(a.address, b.address) ||
    inText(a.protocol, b.protocol) ||
    a.port - b.port ||
    inText(a.family, b.family)
  );
}

function inText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
