import type { Backend, CompiledService, Frontend, HostTable } from "#agent/compile/table.ts";

/**
 * The flow table: who sends what, who must get it. Each row is a sentence of the specification; every driver must agree with it, in memory
 * (conformance.test.ts) and in the kernel (test/e2e/flows.e2e.test.ts). The addresses are those of test/fleet, host 1 being the one that is asked.
 */

/** host: a process on host 1. c1, c2: its containers. out: a client that is no host, and sends what is for virtual IPs to host 1. */
export type Sender = "host" | "c1" | "c2" | "out";

export const SENDER_IPS: Record<Sender, string> = { host: "172.30.0.1", c1: "10.200.1.11", c2: "10.200.1.12", out: "172.30.255.1" };
export const HOST_2 = "172.30.0.2";
export const HOST_3 = "172.30.0.3";

export const host: HostTable = {
  serviceCidrs: ["10.96.0.0/16"],
  nodeIps: [SENDER_IPS.host],
  localCidrs: ["10.200.1.0/24"],
  masqueradeAll: false,
  nodePortCidrs: [],
  forwards: [],
};

export interface Flow {
  readonly name: string;
  readonly services: readonly CompiledService[];
  readonly from: Sender;
  /** `address:port/protocol` */
  readonly to: string;
  /** Endpoints, each with an equal share (or the given one), or what happens instead. */
  readonly want: readonly string[] | "REJECT" | "DROP" | "UNTOUCHED";
  readonly shares?: readonly number[];
  /** Whose address the endpoint sees; the client's own unless said otherwise. */
  readonly seenAs?: "client" | "host";
}

export const backend = (address: string, port = 8080, more: Partial<Backend> = {}): Backend => ({
  address,
  port,
  isLocal: address.startsWith("10.200.1."),
  weight: 1,
  ...more,
});

const VIP = "10.96.0.10";

export function aFrontend(backends: readonly Backend[], more: Partial<Frontend> = {}): Frontend {
  return {
    id: "default/web:http",
    family: "IPv4",
    scope: "cluster",
    address: VIP,
    protocol: "TCP",
    port: 80,
    backends,
    whenEmpty: "reject",
    draining: [],
    affinitySeconds: undefined,
    outside: undefined,
    sourceRanges: undefined,
    scheduler: undefined,
    ...more,
  };
}

export function aCompiled(frontends: readonly Frontend[], key = "default/web"): CompiledService {
  return { key, frontends, healthCheck: undefined, refused: [] };
}

const only = (backends: readonly Backend[], more: Partial<Frontend> = {}): readonly CompiledService[] => [
  aCompiled([aFrontend(backends, more)]),
];
const C1 = backend(SENDER_IPS.c1);
const C2 = backend(SENDER_IPS.c2);
const FAR = backend(HOST_2);
const FAR_3 = backend(HOST_3);
const twelve = Array.from({ length: 12 }, (_, i) => backend(HOST_2, 8000 + i));

export const flows: readonly Flow[] = [
  {
    name: "host to a ClusterIP reaches an endpoint on another host",
    services: only([FAR]),
    from: "host",
    to: `${VIP}:80/tcp`,
    want: [`${HOST_2}:8080`],
    seenAs: "host",
  },
  {
    name: "host to a ClusterIP reaches a container of its own",
    services: only([C1]),
    from: "host",
    to: `${VIP}:80/tcp`,
    want: [`${C1.address}:8080`],
    seenAs: "host",
  },
  {
    name: "container to a ClusterIP reaches an endpoint on another host",
    services: only([FAR]),
    from: "c1",
    to: `${VIP}:80/tcp`,
    want: [`${HOST_2}:8080`],
  },
  {
    name: "container reaches itself (hairpin)",
    services: only([C1]),
    from: "c1",
    to: `${VIP}:80/tcp`,
    want: [`${C1.address}:8080`],
    seenAs: "host",
  },
  {
    name: "container reaches its neighbour on the bridge",
    services: only([C2]),
    from: "c1",
    to: `${VIP}:80/tcp`,
    want: [`${C2.address}:8080`],
    seenAs: "host",
  },
  {
    name: "a client from off the host reaches an endpoint on another host",
    services: only([FAR]),
    from: "out",
    to: `${VIP}:80/tcp`,
    want: [`${HOST_2}:8080`],
    seenAs: "host",
  },
  {
    name: "a client from off the host reaches a container, and keeps its address",
    services: only([C1]),
    from: "out",
    to: `${VIP}:80/tcp`,
    want: [`${C1.address}:8080`],
  },
  {
    name: "endpoints get equal shares",
    services: only([C1, FAR, FAR_3]),
    from: "host",
    to: `${VIP}:80/tcp`,
    want: [`${C1.address}:8080`, `${HOST_2}:8080`, `${HOST_3}:8080`],
    seenAs: "host",
  },
  {
    name: "twelve endpoints get equal shares",
    services: only(twelve),
    from: "host",
    to: `${VIP}:80/tcp`,
    want: twelve.map(({ address, port }) => `${address}:${port}`),
    seenAs: "host",
  },
  {
    name: "endpoints get shares by weight",
    services: only([FAR, { ...FAR_3, weight: 3 }]),
    from: "host",
    to: `${VIP}:80/tcp`,
    want: [`${HOST_2}:8080`, `${HOST_3}:8080`],
    shares: [0.25, 0.75],
    seenAs: "host",
  },
  {
    name: "UDP reaches its endpoint",
    services: only([backend(HOST_2, 5353)], { protocol: "UDP", port: 53 }),
    from: "host",
    to: `${VIP}:53/udp`,
    want: [`${HOST_2}:5353`],
    seenAs: "host",
  },
  {
    name: "TCP and UDP of the same number are two things: TCP",
    services: [
      aCompiled([aFrontend([backend(HOST_2, 8080)], { port: 53 }), aFrontend([backend(HOST_3, 5353)], { protocol: "UDP", port: 53 })]),
    ],
    from: "host",
    to: `${VIP}:53/tcp`,
    want: [`${HOST_2}:8080`],
    seenAs: "host",
  },
  {
    name: "TCP and UDP of the same number are two things: UDP",
    services: [
      aCompiled([aFrontend([backend(HOST_2, 8080)], { port: 53 }), aFrontend([backend(HOST_3, 5353)], { protocol: "UDP", port: 53 })]),
    ],
    from: "host",
    to: `${VIP}:53/udp`,
    want: [`${HOST_3}:5353`],
    seenAs: "host",
  },
  {
    name: "each port of a service has its own endpoints",
    services: [aCompiled([aFrontend([FAR]), aFrontend([backend(HOST_3, 9090)], { id: "default/web:metrics", port: 9090 })])],
    from: "host",
    to: `${VIP}:9090/tcp`,
    want: [`${HOST_3}:9090`],
    seenAs: "host",
  },
  {
    name: "a neighbour in the same leaf of the tree is another service",
    services: [...only([FAR]), aCompiled([aFrontend([FAR_3], { id: "default/api", address: "10.96.0.11" })], "default/api")],
    from: "host",
    to: "10.96.0.11:80/tcp",
    want: [`${HOST_3}:8080`],
    seenAs: "host",
  },
  {
    name: "the last address of the range is found",
    services: only([FAR], { address: "10.96.255.254" }),
    from: "host",
    to: "10.96.255.254:80/tcp",
    want: [`${HOST_2}:8080`],
    seenAs: "host",
  },
  {
    name: "ClientIP affinity spreads clients that are new",
    services: only([FAR, FAR_3], { affinitySeconds: 60 }),
    from: "c1",
    to: `${VIP}:80/tcp`,
    want: [`${HOST_2}:8080`, `${HOST_3}:8080`],
  },
  { name: "no endpoints is a refusal at once: host", services: only([]), from: "host", to: `${VIP}:80/tcp`, want: "REJECT" },
  { name: "no endpoints is a refusal at once: container", services: only([]), from: "c1", to: `${VIP}:80/tcp`, want: "REJECT" },
  { name: "no endpoints is a refusal at once: off the host", services: only([]), from: "out", to: `${VIP}:80/tcp`, want: "REJECT" },
  {
    name: "no endpoints of UDP is a refusal too",
    services: only([], { protocol: "UDP" }),
    from: "c1",
    to: `${VIP}:80/udp`,
    want: "REJECT",
  },
  {
    name: "policy Local without a local endpoint drops",
    services: only([], { whenEmpty: "drop" }),
    from: "host",
    to: `${VIP}:80/tcp`,
    want: "DROP",
  },
  { name: "a direct connection is left alone", services: only([FAR]), from: "host", to: `${HOST_2}:8080/tcp`, want: "UNTOUCHED" },
];
