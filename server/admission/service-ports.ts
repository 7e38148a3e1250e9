import { AppError, type Cause } from "#proto/error.ts";
import { fault } from "#proto/parse.ts";
import type { Service, ServicePort } from "#proto/service.ts";
import type { Pool } from "./pool.ts";

/** Which ports of the hosts a service has; they are kept over updates that do not name them. */

export interface PortRange {
  readonly from: number;
  readonly to: number;
}

export interface PortParts {
  readonly range: PortRange;
  /** Of offsets in the range. One for all protocols: a port that is free in one may be taken in another, and then the next is tried. */
  readonly pool: Pool;
  /** Whether somebody other than this service holds it. */
  readonly isTaken: (claim: string) => Promise<boolean>;
}

type Spec = Service["spec"];

export function portClaim(protocol: string, port: number): string {
  return `nodeport/${protocol}/${port}`;
}

export function portClaims({ spec }: Pick<Service, "spec">): string[] {
  const claims = spec.ports.flatMap(({ protocol, nodePort }) => (nodePort === undefined ? [] : [portClaim(protocol, nodePort)]));
  if (spec.healthCheckNodePort !== undefined) claims.push(portClaim("TCP", spec.healthCheckNodePort));
  return [...new Set(claims)];
}

/** The spec with node ports and the health check's port filled in; what is wrong with it goes to `faults`. */
export async function withNodePorts(previous: Spec | undefined, spec: Spec, parts: PortParts, faults: Cause[]): Promise<Spec> {
  const held = new Set(previous ? portClaims({ spec: previous }) : []);
  const healthPort = healthCheckPortOf(previous, spec, faults);
  const ports = hasNodePorts(spec) ? withHeldPorts(previous, spec.ports) : withoutNodePorts(spec, held, faults);
  const named = { ...spec, ports, healthCheckNodePort: healthPort };
  await checkAsked(named, held, parts, faults);
  if (faults.length > 0) return spec; // a service that is refused takes no port from the walk
  // Ports that stand already are no choice for the others.
  const own = new Set(portClaims({ spec: named }));
  const filled = mayAllocate(spec) ? await withNewPorts(ports, own, parts) : ports;
  const health = healthPort ?? (needsHealthCheckPort(spec) ? await allocate("TCP", own, parts) : undefined);
  const { healthCheckNodePort: _given, ...rest } = spec;
  return { ...rest, ports: filled, ...(health !== undefined && { healthCheckNodePort: health }) };
}

function hasNodePorts({ type }: Spec): boolean {
  return type === "NodePort" || type === "LoadBalancer";
}

function mayAllocate({ type, allocateLoadBalancerNodePorts }: Spec): boolean {
  return type === "NodePort" || (type === "LoadBalancer" && allocateLoadBalancerNodePorts !== false);
}

function needsHealthCheckPort({ type, externalTrafficPolicy }: Spec): boolean {
  return type === "LoadBalancer" && externalTrafficPolicy === "Local";
}

/** What is asked for or held; undefined = none, or one has to be allocated. */
function healthCheckPortOf(previous: Spec | undefined, spec: Spec, faults: Cause[]): number | undefined {
  const field = "spec.healthCheckNodePort";
  const given = spec.healthCheckNodePort;
  if (!needsHealthCheckPort(spec)) {
    if (given !== undefined && given !== previous?.healthCheckNodePort)
      faults.push(fault(field, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'", { value: given }));
    return undefined;
  }
  const held = previous && needsHealthCheckPort(previous) ? previous.healthCheckNodePort : undefined;
  if (held !== undefined && given !== undefined && given !== held) faults.push(fault(field, "field is immutable", { value: given }));
  return given ?? held;
}

/** As in Kubernetes a port that changed is known by its name, and here also one that was renamed by its number. */
function withHeldPorts(previous: Spec | undefined, ports: readonly ServicePort[]): ServicePort[] {
  const byNumber = new Map(previous?.ports.map((port) => [numberOf(port), port.nodePort]));
  const byName = new Map(previous?.ports.map((port) => [nameOf(port), port.nodePort]));
  const known = ports.map((port) => ({ ...port, nodePort: port.nodePort ?? byNumber.get(numberOf(port)) }));
  const used = new Set(known.map(({ protocol, nodePort }) => `${protocol}/${nodePort ?? ""}`));
  return known.map(({ nodePort, ...port }) => {
    const former = byName.get(nameOf(port));
    const found = nodePort ?? (used.has(`${port.protocol}/${former ?? ""}`) ? undefined : former);
    return found === undefined ? port : { ...port, nodePort: found };
  });
}

function numberOf({ port, protocol }: ServicePort): string {
  return `${port}/${protocol}`;
}

function nameOf({ name = "", protocol }: ServicePort): string {
  return `${name}/${protocol}`;
}

/** A change of type lets go of the ports that the server gave; a new one may not be asked for. */
function withoutNodePorts({ type, ports }: Spec, held: ReadonlySet<string>, faults: Cause[]): ServicePort[] {
  return ports.map(({ nodePort, ...rest }, i) => {
    if (nodePort !== undefined && !held.has(portClaim(rest.protocol, nodePort)))
      faults.push(
        fault(`spec.ports[${i}].nodePort`, `may not be used when \`type\` is '${type}'`, {
          reason: "FieldValueForbidden",
          value: nodePort,
        }),
      );
    return rest;
  });
}

async function checkAsked(
  { ports, healthCheckNodePort }: Spec,
  held: ReadonlySet<string>,
  parts: PortParts,
  faults: Cause[],
): Promise<void> {
  const { from, to } = parts.range;
  const check = async (field: string, protocol: string, port: number): Promise<void> => {
    const claim = portClaim(protocol, port);
    const refuse = (why: string): void => void faults.push(fault(field, why, { value: port }));
    if (held.has(claim)) return;
    if (port < from || port > to) refuse(`provided port is not in the valid range. The range of valid ports is ${from}-${to}`);
    else if (await parts.isTaken(claim)) refuse("provided port is already allocated");
  };
  for (const [i, { nodePort, protocol }] of ports.entries())
    if (nodePort !== undefined) await check(`spec.ports[${i}].nodePort`, protocol, nodePort);
  if (healthCheckNodePort === undefined) return;
  await check("spec.healthCheckNodePort", "TCP", healthCheckNodePort);
  if (ports.some(({ nodePort, protocol }) => nodePort === healthCheckNodePort && protocol === "TCP"))
    faults.push(fault("spec.healthCheckNodePort", "is a node port of this service too", { value: healthCheckNodePort }));
}

async function withNewPorts(ports: readonly ServicePort[], own: Set<string>, parts: PortParts): Promise<ServicePort[]> {
  // Two ports of one service with one number and different protocols (DNS) get the same node port, as people expect.
  const chosen = new Map(ports.flatMap(({ port, nodePort }) => (nodePort === undefined ? [] : [[port, nodePort] as const])));
  const filled: ServicePort[] = [];
  for (const port of ports) {
    const nodePort =
      port.nodePort ?? (await sameNumber(port, chosen.get(port.port), own, parts)) ?? (await allocate(port.protocol, own, parts));
    chosen.set(port.port, nodePort);
    filled.push({ ...port, nodePort });
  }
  return filled;
}

async function sameNumber({ protocol }: ServicePort, port: number | undefined, own: Set<string>, parts: PortParts) {
  if (port === undefined) return undefined;
  const claim = portClaim(protocol, port);
  if (own.has(claim) || (await parts.isTaken(claim))) return undefined;
  own.add(claim);
  return port;
}

/** `own`: what this service has already; the new one joins it. */
async function allocate(protocol: string, own: Set<string>, { range, pool }: PortParts): Promise<number> {
  for (let left = own.size + 1; left > 0; left--) {
    const offset = pool.next();
    if (offset === undefined) break;
    const claim = portClaim(protocol, range.from + offset);
    if (own.has(claim)) continue;
    own.add(claim);
    return range.from + offset;
  }
  throw new AppError("ServiceUnavailable", `no node port is left in the range ${range.from}-${range.to}`, {
    hint: "delete NodePort services that are not needed any more",
  });
}
