import type { EndpointSlice, Endpoint } from "#proto/endpoint-slice.ts";
import { endpointAddressFault, formatIp, parseIp, type IpFamily } from "#proto/ip.ts";
import type { Protocol } from "#proto/meta.ts";
import type { Backend, Frontend } from "./table.ts";

/** Which endpoints of a Service port get connections. The order of the rules matters: Kubernetes' "Virtual IPs and Service Proxies". */

export interface PortQuestion {
  readonly family: IpFamily;
  readonly protocol: Protocol;
  /** Slices map their ports to the Service's by name; "" = unnamed. */
  readonly portName: string;
  readonly policy: "Cluster" | "Local";
  readonly publishNotReady: boolean;
  isLocal(endpoint: Endpoint, address: string): boolean;
}

export type EndpointChoice = Pick<Frontend, "backends" | "whenEmpty" | "draining">;

/** One address and port that some slice names; the most usable of those that share them. */
interface Candidate extends Backend {
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
}

export function chooseEndpoints(slices: Iterable<EndpointSlice>, question: PortQuestion): EndpointChoice {
  const all = candidates(slices, question);
  const cluster = usable(all);
  const chosen = question.policy === "Local" ? usable(all.filter(({ isLocal }) => isLocal)) : cluster;
  const isChosen = new Set(chosen);
  return {
    backends: chosen.map(({ address, port, isLocal, weight }) => ({ address, port, isLocal, weight })),
    whenEmpty: chosen.length === 0 && cluster.length > 0 ? "drop" : "reject",
    draining:
      question.protocol === "UDP"
        ? all.filter((one) => one.serving && !isChosen.has(one)).map(({ address, port }) => ({ address, port }))
        : [],
  };
}

/** The ready ones; where there are none, those that are going but still serve: better than refusing everybody during a restart. */
function usable(all: readonly Candidate[]): readonly Candidate[] {
  const weighty = all.filter(({ weight }) => weight > 0);
  const ready = weighty.filter((one) => one.ready);
  return ready.length > 0 ? ready : weighty.filter(({ serving, terminating }) => serving && terminating);
}

function candidates(slices: Iterable<EndpointSlice>, question: PortQuestion): readonly Candidate[] {
  const byTarget = new Map<string, Candidate>();
  for (const slice of slices) {
    if (slice.addressType !== question.family) continue;
    for (const port of slice.ports) {
      if (port.port === undefined || (port.name ?? "") !== question.portName || port.protocol !== question.protocol) continue;
      for (const endpoint of slice.endpoints) {
        const one = candidateOf(endpoint, port.port, question);
        if (!one) continue;
        const target = `${one.address} ${one.port}`;
        const other = byTarget.get(target);
        if (!other || rank(one) > rank(other)) byTarget.set(target, one);
      }
    }
  }
  return [...byTarget.values()].toSorted(byAddressAndPort);
}

function candidateOf(endpoint: Endpoint, port: number, question: PortQuestion): Candidate | undefined {
  const ip = parseIp(endpoint.addresses[0] ?? "");
  if (!ip || ip.family !== question.family) return undefined;
  const address = formatIp(ip);
  // The server refuses these too; what is on a host's disk may be older than the server's rules.
  if (endpointAddressFault(address) !== undefined) return undefined;
  const { ready = true, serving = true, terminating = false } = endpoint.conditions;
  return {
    address,
    port,
    isLocal: question.isLocal(endpoint, address),
    weight: endpoint.weight ?? 1,
    ready: ready || question.publishNotReady,
    serving,
    terminating,
  };
}

/** The same target in two slices, as while it moves from one to the other, or when an address is used again: the better word counts. */
function rank(one: Candidate): number {
  return (one.terminating ? 0 : 8) + (one.ready ? 4 : 0) + (one.serving ? 2 : 0) + (one.isLocal ? 1 : 0);
}

function byAddressAndPort(a: Backend, b: Backend): number {
  return a.address < b.address ? -1 : a.address > b.address ? 1 : a.port - b.port;
}
