import { AppError, type Cause } from "#proto/error.ts";
import { fault } from "#proto/parse.ts";
import type { Service, ServicePort } from "#proto/service.ts";
import type { Pool } from "./pool.ts";

/** Which node ports a service has; they are kept over updates that do not name them. */

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

export function portClaims({ spec }: Service): string[] {
  const claims = spec.ports.flatMap(({ protocol, nodePort }) => (nodePort === undefined ? [] : [portClaim(protocol, nodePort)]));
  if (spec.healthCheckNodePort !== undefined) claims.push(portClaim("TCP", spec.healthCheckNodePort));
  return [...new Set(claims)];
}

export async function withNodePorts(previous: Spec | undefined, spec: Spec, parts: PortParts, faults: Cause[]): Promise<Spec> {
  const held = new Map((previous?.ports ?? []).map((port) => [keyOf(port), port.nodePort]));
  if (spec.type !== "NodePort" && spec.type !== "LoadBalancer") return withoutNodePorts(spec, held, faults);
  const mayAllocate = spec.type === "NodePort" || spec.allocateLoadBalancerNodePorts !== false;
  const ports: ServicePort[] = [];
  // Two ports of one service with one number and different protocols (DNS) get the same node port, as people expect.
  const chosen = new Map<number, number>();
  for (const [i, port] of spec.ports.entries()) {
    let nodePort = port.nodePort ?? held.get(keyOf(port));
    if (nodePort !== undefined && nodePort !== held.get(keyOf(port))) await checkAsked(nodePort, port, i, parts, faults);
    if (nodePort === undefined && mayAllocate) nodePort = await allocate(port, chosen.get(port.port), parts);
    if (nodePort !== undefined) chosen.set(port.port, nodePort);
    ports.push(nodePort === undefined ? port : { ...port, nodePort });
  }
  return { ...spec, ports };
}

function keyOf({ port, protocol }: ServicePort): string {
  return `${port}/${protocol}`;
}

/** A change of type lets go of the ports that the server gave; a new one may not be asked for. */
function withoutNodePorts(spec: Spec, held: ReadonlyMap<string, number | undefined>, faults: Cause[]): Spec {
  const ports = spec.ports.map((port, i) => {
    const { nodePort, ...rest } = port;
    if (nodePort !== undefined && nodePort !== held.get(keyOf(port)))
      faults.push(
        fault(`spec.ports[${i}].nodePort`, "may only be set for the types NodePort and LoadBalancer", {
          reason: "FieldValueForbidden",
          value: nodePort,
        }),
      );
    return rest;
  });
  return { ...spec, ports };
}

async function checkAsked(nodePort: number, { protocol }: ServicePort, i: number, parts: PortParts, faults: Cause[]): Promise<void> {
  const { from, to } = parts.range;
  const refuse = (why: string): void => void faults.push(fault(`spec.ports[${i}].nodePort`, why, { value: nodePort }));
  if (nodePort < from || nodePort > to) refuse(`provided port is not in the valid range. The range of valid ports is ${from}-${to}`);
  else if (await parts.isTaken(portClaim(protocol, nodePort))) refuse("provided port is already allocated");
}

async function allocate({ protocol }: ServicePort, sameAs: number | undefined, { range, pool, isTaken }: PortParts): Promise<number> {
  if (sameAs !== undefined && !(await isTaken(portClaim(protocol, sameAs)))) return sameAs;
  const offset = pool.next();
  if (offset !== undefined) return range.from + offset;
  throw new AppError("ServiceUnavailable", `no node port is left in the range ${range.from}-${range.to}`, {
    hint: "delete NodePort services that are not needed any more",
  });
}
