import { at, web, type EndpointSketch, type Flow, type Sender, type ServiceSketch } from "./flow.ts";

/** What a host may set for itself. Each setting is a table of its own. */

interface Asked {
  readonly has?: NonNullable<ServiceSketch["has"]>;
  readonly spec?: ServiceSketch["spec"] & object;
  readonly seenAs?: NonNullable<Flow["seenAs"]>;
}

const asking =
  (setting: NonNullable<Flow["setting"]>, prefix: string) =>
  (
    name: string,
    [from, to]: readonly [Sender, string],
    endpoints: readonly EndpointSketch[],
    want: Flow["want"],
    { seenAs, ...service }: Asked = {},
  ): Flow => ({
    name: `${prefix}: ${name}`,
    services: web(endpoints, service),
    from,
    to,
    want,
    setting,
    ...(seenAs && { seenAs }),
  });

const LOCAL = { has: ["lb"], spec: { externalTrafficPolicy: "Local" } } as const;
const all = asking("masquerade-all", "masquerade all");
const masqueradeAllFlows: readonly Flow[] = [
  all("a container's connection to another host", ["h1c1", "vip:80"], [at("h2")], ["h2"], { seenAs: "host" }),
  all("a container's connection to its neighbour", ["h1c1", "vip:80"], [at("h1c2")], ["h1c2"], { seenAs: "host" }),
  all("a connection from off the host to a container", ["out", "vip:80"], [at("h1c1")], ["h1c1"], { seenAs: "host" }),
  all("the host's connection to another host", ["h1", "vip:80"], [at("h2")], ["h2"], { seenAs: "host" }),
  all("UDP", ["h1c1", "vip:53/udp"], [at("h2")], ["h2"], { spec: { ports: [{ protocol: "UDP", port: 53 }] }, seenAs: "host" }),
  all("internalTrafficPolicy Local, too", ["h1c1", "vip:80"], [at("h1c2"), at("h2")], ["h1c2"], {
    spec: { internalTrafficPolicy: "Local" },
    seenAs: "host",
  }),
  all("the host's connection to itself", ["h1", "vip:80"], [at("h1")], ["h1"]),
  all("not a node port, where the client's address can be kept", ["out", "h1:np"], [at("h1c1")], ["h1c1"], { has: ["nodePort"] }),
  all("not a load balancer's address, where it can be kept", ["out", "lb:80"], [at("h1c1")], ["h1c1"], { has: ["lb"] }),
  all("a load balancer's address, where it cannot", ["out", "lb:80"], [at("h2")], ["h2"], { has: ["lb"], seenAs: "host" }),
  all("policy Local keeps the client's address", ["out", "lb:80"], [at("h1c1"), at("h2")], ["h1c1"], LOCAL),
  all("policy Local keeps it at an external IP", ["out", "ext:80"], [at("h1c1"), at("h2")], ["h1c1"], { ...LOCAL, has: ["ext"] }),
  all("policy Local keeps it at a node port", ["out", "h1:np"], [at("h1c1"), at("h2")], ["h1c1"], { ...LOCAL, has: ["nodePort"] }),
  all("a direct connection is left alone all the same", ["h1c1", "h2:8080"], [at("h2")], "UNTOUCHED"),
  all("a direct connection from off the host to a container is left alone", ["out", "h1c1:8080"], [at("h1c1")], "UNTOUCHED"),
];

const cidrs = asking("node-port-cidrs", "node port addresses");
const NODE_PORT = { has: ["nodePort"] } as const;
const nodePortCidrFlows: readonly Flow[] = [
  cidrs("one within is served from off the host", ["out", "h1:np"], [at("h2")], ["h2"], { ...NODE_PORT, seenAs: "host" }),
  cidrs("one within is served to a container", ["h1c1", "h1:np"], [at("h2")], ["h2"], NODE_PORT),
  cidrs("one within is served to the host", ["h1", "h1:np"], [at("h2")], ["h2"], { ...NODE_PORT, seenAs: "host" }),
  cidrs("a second address outside is left alone", ["out", "h1b:np"], [at("h2")], "UNTOUCHED", NODE_PORT),
  cidrs("a second address outside is left alone: host", ["h1", "h1b:np"], [at("h2")], "UNTOUCHED", NODE_PORT),
  cidrs("the bridge outside is left alone", ["h1c1", "bridge:np"], [at("h2")], "UNTOUCHED", NODE_PORT),
  cidrs("another host within them is not ours", ["h1c1", "h3:np"], [at("h2")], "UNTOUCHED", NODE_PORT),
  cidrs("without endpoints one within refuses", ["out", "h1:np"], [], "REJECT", NODE_PORT),
  cidrs("the ClusterIP has nothing to do with them", ["h1c1", "vip:80"], [at("h2")], ["h2"], NODE_PORT),
];

const plainHost = asking("no-local-cidrs", "a host that names no networks behind it");
const noLocalCidrFlows: readonly Flow[] = [
  plainHost("the host reaches another host", ["h1", "vip:80"], [at("h2")], ["h2"], { seenAs: "host" }),
  plainHost("a client from off the host reaches another host", ["out", "vip:80"], [at("h2")], ["h2"], { seenAs: "host" }),
  plainHost("a local endpoint may answer the client directly, for all it knows", ["out", "vip:80"], [at("h1c1")], ["h1c1"], {
    seenAs: "host",
  }),
  plainHost("a local endpoint on its network reaches itself (hairpin)", ["h1c1", "vip:80"], [at("h1c1")], ["h1c1"], { seenAs: "host" }),
  plainHost(
    "a local endpoint on its network that calls another host is masqueraded like any client",
    ["h1c1", "vip:80"],
    [at("h2")],
    ["h2"],
    { seenAs: "host" },
  ),
  plainHost("policy Local counts a local endpoint all the same", ["out", "lb:80"], [at("h1c1"), at("h2")], ["h1c1"], {
    ...LOCAL,
    seenAs: "host",
  }),
  plainHost("a process of its own sees the client", ["out", "vip:80"], [at("h1")], ["h1"]),
  plainHost("policy Local counts a local endpoint's machine as outside", ["h1c1", "lb:80"], [at("h2")], "DROP", LOCAL),
  plainHost("policy Local: the host itself still reaches all", ["h1", "lb:80"], [at("h2")], ["h2"], { ...LOCAL, seenAs: "host" }),
];

export const settingFlows: readonly Flow[] = [...masqueradeAllFlows, ...nodePortCidrFlows, ...noLocalCidrFlows];
