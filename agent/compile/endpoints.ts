import type { EndpointSlice, Endpoint } from "#proto/endpoint-slice.ts";
import { endpointAddressFault, formatIp, parseIp, type IpFamily } from "#proto/ip.ts";
import type { Protocol } from "#proto/meta.ts";
import type { HostFacts } from "./host-facts.ts";
import type { Backend, OutsideChoice } from "./table.ts";
import { nearest, type Hints } from "./topology.ts";

/** Which endpoints of a Service port get connections. The order of the rules matters: Kubernetes' "Virtual IPs and Service Proxies". */

export interface PortQuestion {
  readonly family: IpFamily;
  readonly protocol: Protocol;
  /** Slices map their ports to the Service's by name; "" = unnamed. */
  readonly portName: string;
  readonly publishNotReady: boolean;
}

/** Who answers at a port, by where the connection may end. */
export interface EndpointChoice {
  /** Policy Cluster. */
  readonly anywhere: OutsideChoice;
  /** Policy Local: hints do not apply, and it has its own fallback to endpoints that are going. */
  readonly here: OutsideChoice;
  /** All that still serve, chosen or not: a flow that one of them has may end there. Sorted. */
  readonly serving: readonly Target[];
  /** Addresses of ready endpoints of this host. */
  readonly readyHere: readonly string[];
}

export interface Target {
  readonly address: string;
  readonly port: number;
}

/** One address and port that some slice names; the most usable of those that share them. */
interface Candidate extends Backend, Hints {
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
}

export function chooseEndpoints(slices: Iterable<EndpointSlice>, question: PortQuestion, facts: HostFacts): EndpointChoice {
  const all = candidates(slices, question, facts);
  const weighty = all.filter(({ weight }) => weight > 0);
  const local = weighty.filter(({ isLocal }) => isLocal);
  const ready = weighty.filter((one) => one.ready);
  const anywhere = orGoing(nearest(ready, facts), weighty);
  const readyHere = local.filter((one) => one.ready);
  const here = orGoing(readyHere, local);
  return {
    anywhere: { backends: anywhere.map(backendOf), whenEmpty: "reject" },
    // Some are elsewhere: a load balancer is expected to look there, so it is not told that nobody answers.
    here: { backends: here.map(backendOf), whenEmpty: here.length === 0 && anywhere.length > 0 ? "drop" : "reject" },
    serving: all.filter((one) => one.serving).map(({ address, port }) => ({ address, port })),
    readyHere: readyHere.map(({ address }) => address),
  };
}

/** The ready ones; where there are none, those that are going but still serve: better than refusing everybody during a restart. */
function orGoing(ready: readonly Candidate[], all: readonly Candidate[]): readonly Candidate[] {
  return ready.length > 0 ? ready : all.filter(({ serving, terminating }) => serving && terminating);
}

function backendOf({ address, port, isLocal, weight }: Candidate): Backend {
  return { address, port, isLocal, weight };
}

function candidates(slices: Iterable<EndpointSlice>, question: PortQuestion, facts: HostFacts): readonly Candidate[] {
  const byTarget = new Map<string, Candidate>();
  for (const slice of slices) {
    if (slice.addressType !== question.family) continue;
    for (const port of slice.ports) {
      if (port.port === undefined || (port.name ?? "") !== question.portName || port.protocol !== question.protocol) continue;
      for (const endpoint of slice.endpoints) {
        const one = candidateOf(endpoint, port.port, question, facts);
        if (!one) continue;
        const target = `${one.address} ${one.port}`;
        const other = byTarget.get(target);
        if (!other || rank(one) > rank(other)) byTarget.set(target, one);
      }
    }
  }
  return [...byTarget.values()].toSorted(byAddressAndPort);
}

function candidateOf(endpoint: Endpoint, port: number, question: PortQuestion, facts: HostFacts): Candidate | undefined {
  const ip = parseIp(endpoint.addresses[0] ?? "");
  if (!ip || ip.family !== question.family) return undefined;
  const address = formatIp(ip);
  // The server refuses these too; what is on a host's disk may be older than the server's rules.
  if (endpointAddressFault(address) !== undefined) return undefined;
  const { ready = true, serving = true, terminating = false } = endpoint.conditions;
  return {
    address,
    port,
    isLocal: facts.isLocal(endpoint, ip),
    weight: endpoint.weight ?? 1,
    ready: ready || question.publishNotReady,
    serving,
    terminating,
    forNodes: endpoint.hints?.forNodes?.map(({ name }) => name) ?? [],
    forZones: endpoint.hints?.forZones?.map(({ name }) => name) ?? [],
  };
}

/** The same target in two slices, as while it moves from one to the other, or when an address is used again: the better word counts. */
function rank(one: Candidate): number {
  return (one.terminating ? 0 : 8) + (one.ready ? 4 : 0) + (one.serving ? 2 : 0) + (one.isLocal ? 1 : 0);
}

function byAddressAndPort(a: Backend, b: Backend): number {
  return a.address < b.address ? -1 : a.address > b.address ? 1 : a.port - b.port;
}
