import { at, GOING, GONE, UNREADY, web, type EndpointSketch, type Flow, type Sender } from "./flow.ts";

/** internalTrafficPolicy and externalTrafficPolicy Local, with their short circuits. */

const INTERNAL = { spec: { internalTrafficPolicy: "Local" } } as const;
const EXTERNAL = { spec: { externalTrafficPolicy: "Local" }, has: ["nodePort", "lb", "ext"] } as const;

const internal = (name: string, from: Sender, endpoints: readonly EndpointSketch[], want: Flow["want"], seenAs?: Flow["seenAs"]): Flow => ({
  name,
  services: web(endpoints, INTERNAL),
  from,
  to: "vip:80",
  want,
  ...(seenAs && { seenAs }),
});

export const internalPolicyFlows: readonly Flow[] = [
  internal("internal Local: a container reaches the local endpoint alone", "h1c1", [at("h1c2"), at("h2")], ["h1c2"], "host"),
  internal("internal Local: the host reaches the local endpoint alone", "h1", [at("h1c1"), at("h2")], ["h1c1"], "host"),
  internal("internal Local: a client from off the host reaches the local endpoint alone", "out", [at("h1c1"), at("h2")], ["h1c1"]),
  internal("internal Local: a machine of the host on the LAN is a local endpoint", "out", [at("h1vm"), at("h2")], ["h1vm"], "host"),
  internal("internal Local: a process of the host is a local endpoint", "h1c1", [at("h1"), at("h2")], ["h1"]),
  internal("internal Local: all local endpoints share", "h1", [at("h1c1"), at("h1c2"), at("h2")], ["h1c1", "h1c2"], "host"),
  internal("internal Local: endpoints only elsewhere are a silent drop: host", "h1", [at("h2")], "DROP"),
  internal("internal Local: endpoints only elsewhere are a silent drop: container", "h1c1", [at("h2")], "DROP"),
  internal("internal Local: endpoints only elsewhere are a silent drop: off the host", "out", [at("h2")], "DROP"),
  internal("internal Local: an unready local endpoint does not count", "h1c1", [at("h1c2", UNREADY), at("h2")], "DROP"),
  internal(
    "internal Local: a local endpoint that goes and serves is better than none",
    "h1c1",
    [at("h1c2", GOING), at("h2")],
    ["h1c2"],
    "host",
  ),
  internal("internal Local: a local endpoint that is gone is none", "h1c1", [at("h1c2", GONE), at("h2")], "DROP"),
  internal("internal Local: no endpoint anywhere is a refusal", "h1c1", [], "REJECT"),
  internal("internal Local: unready ones alone are a refusal", "h1c1", [at("h1c2", UNREADY), at("h2", UNREADY)], "REJECT"),
  internal(
    "internal Local: an endpoint without nodeName is local when its address is",
    "h1",
    [at("h1c1", { node: null }), at("h2", { node: null })],
    ["h1c1"],
    "host",
  ),
  {
    name: "internal Local does not touch the node port",
    services: web([at("h2")], { spec: { internalTrafficPolicy: "Local" }, has: ["nodePort"] }),
    from: "out",
    to: "h1:np",
    want: ["h2"],
    seenAs: "host",
  },
  {
    name: "internal Local does not touch the load balancer's address",
    services: web([at("h2")], { spec: { internalTrafficPolicy: "Local" }, has: ["lb"] }),
    from: "h1c1",
    to: "lb:80",
    want: ["h2"],
  },
  {
    name: "internal Local of UDP drops too",
    services: web([at("h2")], { spec: { internalTrafficPolicy: "Local", ports: [{ protocol: "UDP", port: 53 }] } }),
    from: "h1c1",
    to: "vip:53/udp",
    want: "DROP",
  },
];

const PLACES = [
  { to: "h1:np", what: "a node port" },
  { to: "lb:80", what: "a load balancer's address" },
  { to: "ext:80", what: "an external IP" },
] as const;

interface External {
  readonly name: string;
  readonly from: Sender;
  readonly endpoints: readonly EndpointSketch[];
  readonly want: Flow["want"];
  readonly seenAs?: NonNullable<Flow["seenAs"]>;
}

/** The same at each of the places that are reached from elsewhere. */
const EVERYWHERE: readonly External[] = [
  {
    name: "a client from off the host reaches the local endpoint, which sees its address",
    from: "out",
    endpoints: [at("h1c1"), at("h2")],
    want: ["h1c1"],
  },
  {
    name: "a machine of the host on the LAN is a local endpoint, and would answer the client directly",
    from: "out",
    endpoints: [at("h1vm"), at("h2")],
    want: ["h1vm"],
    seenAs: "host",
  },
  { name: "another host reaches the local endpoint alone", from: "h2", endpoints: [at("h1c1"), at("h2")], want: ["h1c1"] },
  { name: "endpoints only elsewhere are a silent drop", from: "out", endpoints: [at("h2")], want: "DROP" },
  { name: "the host itself reaches all endpoints", from: "h1", endpoints: [at("h1c1"), at("h2")], want: ["h1c1", "h2"], seenAs: "host" },
  {
    name: "the host itself reaches endpoints elsewhere where none is local",
    from: "h1",
    endpoints: [at("h2")],
    want: ["h2"],
    seenAs: "host",
  },
  { name: "a container reaches endpoints elsewhere, which see its address", from: "h1c1", endpoints: [at("h2")], want: ["h2"] },
  { name: "no endpoint anywhere is a refusal", from: "out", endpoints: [], want: "REJECT" },
  {
    name: "a local endpoint that goes and serves is better than none",
    from: "out",
    endpoints: [at("h1c1", GOING), at("h2")],
    want: ["h1c1"],
  },
];

const atLb = (name: string, from: Sender, endpoints: readonly EndpointSketch[], want: Flow["want"], seenAs?: Flow["seenAs"]): Flow => ({
  name: `external Local: ${name}`,
  services: web(endpoints, EXTERNAL),
  from,
  to: "lb:80",
  want,
  ...(seenAs && { seenAs }),
});

export const externalPolicyFlows: readonly Flow[] = [
  ...PLACES.flatMap(({ to, what }) =>
    EVERYWHERE.map(({ name, endpoints, ...rest }) => ({
      name: `external Local at ${what}: ${name}`,
      services: web(endpoints, EXTERNAL),
      to,
      ...rest,
    })),
  ),
  atLb("a process of the host is a local endpoint, and sees the client", "out", [at("h1"), at("h2")], ["h1"]),
  atLb("only what is behind the host can be shown the client", "out", [at("h1c1"), at("h1vm")], ["h1c1", "h1vm"], ["client", "host"]),
  atLb("a machine of the host on the LAN is off the host", "h1vm", [at("h1c1"), at("h2")], ["h1c1"]),
  atLb("all local endpoints share", "out", [at("h1c1"), at("h1c2"), at("h2")], ["h1c1", "h1c2"]),
  atLb("an unready local endpoint does not count", "out", [at("h1c1", UNREADY), at("h2")], "DROP"),
  atLb("a local endpoint that is gone is none", "out", [at("h1c1", GONE), at("h2")], "DROP"),
  atLb("a container reaches local endpoints and others", "h1c1", [at("h1c2"), at("h2")], ["h1c2", "h2"], ["host", "client"]),
  atLb("a container reaches itself", "h1c1", [at("h1c1")], ["h1c1"], "host"),
  atLb("a container of another host is off the host", "h2c1", [at("h1c1"), at("h2c1")], ["h1c1"]),
  atLb("the host with its second address is the host", "h1b", [at("h2")], ["h2"], "host"),
  atLb("no endpoint anywhere refuses the host too", "h1", [], "REJECT"),
  atLb("an unready endpoint elsewhere is none anywhere", "out", [at("h2", UNREADY)], "REJECT"),
  atLb(
    "an endpoint without nodeName is local when its address is",
    "out",
    [at("h1c1", { node: null }), at("h2", { node: null })],
    ["h1c1"],
  ),
  {
    name: "external Local does not touch the ClusterIP",
    services: web([at("h2")], EXTERNAL),
    from: "out",
    to: "vip:80",
    want: ["h2"],
    seenAs: "host",
  },
  {
    name: "external Local at a second address of the host: the local endpoint sees the client",
    services: web([at("h1c1"), at("h2")], EXTERNAL),
    from: "out",
    to: "h1b:np",
    want: ["h1c1"],
  },
  {
    name: "external Local means nothing to a service without a place outside",
    services: web([at("h2")], { spec: { externalTrafficPolicy: "Local" } }),
    from: "out",
    to: "vip:80",
    want: ["h2"],
    seenAs: "host",
  },
  {
    name: "external and internal Local together: the host at the load balancer's address still reaches all",
    services: web([at("h2")], { ...EXTERNAL, spec: { externalTrafficPolicy: "Local", internalTrafficPolicy: "Local" } }),
    from: "h1",
    to: "lb:80",
    want: ["h2"],
    seenAs: "host",
  },
  {
    name: "external and internal Local together: the ClusterIP drops where none is local",
    services: web([at("h2")], { ...EXTERNAL, spec: { externalTrafficPolicy: "Local", internalTrafficPolicy: "Local" } }),
    from: "h1",
    to: "vip:80",
    want: "DROP",
  },
  {
    name: "external Local of UDP: the local endpoint sees the client",
    services: web([at("h1c1"), at("h2")], {
      ...EXTERNAL,
      spec: { externalTrafficPolicy: "Local", ports: [{ protocol: "UDP", port: 53 }] },
    }),
    from: "out",
    to: "lb:53/udp",
    want: ["h1c1"],
  },
  {
    name: "external Local of UDP: endpoints only elsewhere are a silent drop",
    services: web([at("h2")], { ...EXTERNAL, spec: { externalTrafficPolicy: "Local", ports: [{ protocol: "UDP", port: 53 }] } }),
    from: "out",
    to: "h1:np/udp",
    want: "DROP",
  },
];
