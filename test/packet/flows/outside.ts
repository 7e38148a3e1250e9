import { at, UNREADY, web, type EndpointSketch, type Flow, type Sender, type ServiceSketch } from "./flow.ts";
import { LOCAL_CIDRS, NODE_CIDRS, OUT_CIDRS } from "./world.ts";

/** Node ports, addresses of load balancers with their source ranges, and external IPs, with the policy Cluster. */

const EVERYWHERE: readonly { name: string; from: Sender; endpoints: readonly EndpointSketch[]; want: Flow["want"]; seenAs?: "host" }[] = [
  { name: "a client from off the host reaches another host", from: "out", endpoints: [at("h2")], want: ["h2"], seenAs: "host" },
  { name: "a client from off the host reaches a container, which sees its address", from: "out", endpoints: [at("h1c1")], want: ["h1c1"] },
  {
    name: "a client from off the host reaches a process of the host, which sees its address",
    from: "out",
    endpoints: [at("h1")],
    want: ["h1"],
  },
  { name: "the host itself reaches another host", from: "h1", endpoints: [at("h2")], want: ["h2"], seenAs: "host" },
  { name: "the host itself reaches a container", from: "h1", endpoints: [at("h1c1")], want: ["h1c1"], seenAs: "host" },
  { name: "the host itself reaches a process of its own", from: "h1", endpoints: [at("h1")], want: ["h1"], seenAs: "host" },
  { name: "a container reaches another host, which sees its address", from: "h1c1", endpoints: [at("h2")], want: ["h2"] },
  { name: "a container reaches itself", from: "h1c1", endpoints: [at("h1c1")], want: ["h1c1"], seenAs: "host" },
  { name: "a container reaches its neighbour", from: "h1c1", endpoints: [at("h1c2")], want: ["h1c2"], seenAs: "host" },
  { name: "another host reaches a container, which sees its address", from: "h2", endpoints: [at("h1c1")], want: ["h1c1"] },
  {
    name: "a client from off the host reaches a machine of the host on the LAN, which would answer it directly",
    from: "out",
    endpoints: [at("h1vm")],
    want: ["h1vm"],
    seenAs: "host",
  },
  { name: "a container reaches a machine of the host on the LAN", from: "h1c1", endpoints: [at("h1vm")], want: ["h1vm"] },
  { name: "a machine of the host on the LAN reaches itself", from: "h1vm", endpoints: [at("h1vm")], want: ["h1vm"], seenAs: "host" },
  { name: "without endpoints a client from off the host is refused", from: "out", endpoints: [], want: "REJECT" },
  { name: "without endpoints a container is refused", from: "h1c1", endpoints: [at("h2", UNREADY)], want: "REJECT" },
  { name: "without endpoints the host itself is refused", from: "h1", endpoints: [], want: "REJECT" },
];

const everywhere = (has: "nodePort" | "lb" | "ext", to: string, what: string): Flow[] =>
  EVERYWHERE.map(({ name, endpoints, ...rest }) => ({ name: `${what}: ${name}`, services: web(endpoints, { has: [has] }), to, ...rest }));

const ask = (
  name: string,
  from: Sender,
  to: string,
  want: Flow["want"],
  more: Omit<Partial<Flow>, "name"> & { with: ServiceSketch },
): Flow => {
  const { with: service, ...rest } = more;
  return { name, services: [service], from, to, want, ...rest };
};
const far = (has: "nodePort" | "lb" | "ext"): ServiceSketch => ({ endpoints: [at("h2")], has: [has] });
const farUdp = (has: "nodePort" | "lb" | "ext"): ServiceSketch => ({ ...far(has), spec: { ports: [{ protocol: "UDP", port: 53 }] } });

export const nodePortFlows: readonly Flow[] = [
  ...everywhere("nodePort", "h1:np", "node port"),
  ask("node port: it is at a second address of the host", "out", "h1b:np", ["h2"], { with: far("nodePort"), seenAs: "host" }),
  ask("node port: the host reaches it at its second address", "h1", "h1b:np", ["h2"], { with: far("nodePort"), seenAs: "host" }),
  ask("node port: a container reaches it at the bridge", "h1c1", "bridge:np", ["h2"], { with: far("nodePort") }),
  ask("node port: the service's own port is none of the host", "out", "h1:80", "UNTOUCHED", { with: far("nodePort") }),
  ask("node port: it is not at the virtual IP", "h1c1", "vip:np", "REJECT", { with: far("nodePort") }),
  ask("node port: the ClusterIP of the service still is", "h1c1", "vip:80", ["h2"], { with: far("nodePort") }),
  ask("node port: the data plane leaves loopback alone", "h1", "lo:np", "UNTOUCHED", { with: far("nodePort") }),
  ask("node port: that of another host is not ours", "h1c1", "h3:np", "UNTOUCHED", { with: far("nodePort") }),
  ask("node port of TCP: UDP of its number is left alone", "out", "h1:np/udp", "UNTOUCHED", { with: far("nodePort") }),
  ask("node port of UDP", "out", "h1:np/udp", ["h2"], { with: farUdp("nodePort"), seenAs: "host" }),
  ask("node port of UDP: a client from off the host reaches a machine of the host on the LAN", "out", "h1:np/udp", ["h1vm"], {
    with: { ...farUdp("nodePort"), endpoints: [at("h1vm")] },
    seenAs: "host",
  }),
  ask("node port of UDP: a container reaches it", "h1c1", "h1:np/udp", ["h2"], { with: farUdp("nodePort") }),
  ask("node port of UDP without endpoints refuses", "out", "h1:np/udp", "REJECT", { with: { ...farUdp("nodePort"), endpoints: [] } }),
  ask("node port: a service of type ClusterIP has none", "out", "h1:np", "UNTOUCHED", { with: { endpoints: [at("h2")] } }),
];

export const loadBalancerFlows: readonly Flow[] = [
  ...everywhere("lb", "lb:80", "load balancer"),
  ask("load balancer: the service's ClusterIP still is", "h1c1", "vip:80", ["h2"], { with: far("lb") }),
  ask("load balancer: the service's node port is at the host", "out", "h1:np", ["h2"], { with: far("lb"), seenAs: "host" }),
  ask("load balancer: the node port is not at its address", "out", "lb:np", "REJECT", { with: far("lb") }),
  ask("load balancer of UDP", "out", "lb:53/udp", ["h2"], { with: farUdp("lb"), seenAs: "host" }),
  ask("load balancer: without node ports the address is served all the same", "out", "lb:80", ["h2"], {
    with: { ...far("lb"), spec: { allocateLoadBalancerNodePorts: false, ports: [{ port: 80 }] } },
    seenAs: "host",
  }),
  ask("load balancer that is a proxy of its own: its address is left alone", "h1c1", "lb:80", "UNTOUCHED", {
    with: { ...far("lb"), ipMode: "Proxy" },
  }),
];

export const externalIpFlows: readonly Flow[] = [
  ...everywhere("ext", "ext:80", "external IP"),
  ask("external IP: the service's ClusterIP still is", "h1c1", "vip:80", ["h2"], { with: far("ext") }),
  ask("external IP of UDP", "h1c1", "ext:53/udp", ["h2"], { with: farUdp("ext") }),
  ask("external IP: a port that nobody declared goes on to whom the address belongs", "out", "ext:81", "UNTOUCHED", { with: far("ext") }),
  ask("external IP: a container's connection to another port goes on, too", "h1c1", "ext:81", "UNTOUCHED", { with: far("ext") }),
  ask("external IP: the host's connection to another port goes on, too", "h1", "ext:81", "UNTOUCHED", { with: far("ext") }),
  ask("external IP: another protocol goes on, too", "h1c1", "ext:80/udp", "UNTOUCHED", { with: far("ext") }),
];

const ranges = (loadBalancerSourceRanges: readonly string[], more: Partial<ServiceSketch> = {}): ServiceSketch => ({
  endpoints: [at("h2")],
  has: ["lb"],
  ...more,
  spec: { ...more.spec, loadBalancerSourceRanges: [...loadBalancerSourceRanges] },
});
const OUT_NET = Object.values(OUT_CIDRS);
const NODE_NET = Object.values(NODE_CIDRS);
const CONTAINER_NET = Object.values(LOCAL_CIDRS);
const NOWHERE = ["192.0.2.0/24", "2001:db8::/32"];

export const sourceRangeFlows: readonly Flow[] = [
  ask("source ranges: a client within them is served", "out", "lb:80", ["h2"], { with: ranges(OUT_NET), seenAs: "host" }),
  ask("source ranges: a client outside of them is dropped without a word", "out", "lb:80", "DROP", { with: ranges(NODE_NET) }),
  ask("source ranges: another host within them is served", "h2", "lb:80", ["h1c1"], {
    with: ranges(NODE_NET, { endpoints: [at("h1c1")] }),
  }),
  ask("source ranges: a container outside of them is dropped", "h1c1", "lb:80", "DROP", { with: ranges(OUT_NET) }),
  ask("source ranges: a container within them is served", "h1c1", "lb:80", ["h2"], { with: ranges(CONTAINER_NET) }),
  ask("source ranges: the host itself is served when its own address is in one", "h1", "lb:80", ["h2"], {
    with: ranges(NODE_NET),
    seenAs: "host",
  }),
  ask("source ranges: the host itself is dropped when its address is in none", "h1", "lb:80", "DROP", { with: ranges(OUT_NET) }),
  ask("source ranges: one of several is enough", "out", "lb:80", ["h2"], { with: ranges([...NOWHERE, ...OUT_NET]), seenAs: "host" }),
  ask("source ranges: an address alone is a range", "out", "lb:80", ["h2"], {
    with: ranges(["172.30.255.1/32", "fd30::fffe/128"]),
    seenAs: "host",
  }),
  ask("source ranges: the address next to it is not in it", "out", "lb:80", "DROP", {
    with: ranges(["172.30.255.2/32", "fd30::ffff/128"]),
  }),
  ask("source ranges: 0.0.0.0/0 and ::/0 are no limit", "out", "lb:80", ["h2"], { with: ranges(["0.0.0.0/0", "::/0"]), seenAs: "host" }),
  ask("source ranges: white space around them means nothing", "out", "lb:80", ["h2"], {
    with: ranges(OUT_NET.map((one) => ` ${one}  `)),
    seenAs: "host",
  }),
  ask("source ranges: those that overlap are no fault", "out", "lb:80", ["h2"], {
    with: ranges(["172.30.0.0/16", "172.30.255.0/24", "fd30::/64", "fd30::ff00/120"]),
    seenAs: "host",
  }),
  ask("source ranges of IPv4 alone leave nobody of IPv6 in", "out", "lb:80", "DROP", { with: ranges(["172.30.0.0/16"]), only: "IPv6" }),
  ask("source ranges do not hold for the node port", "out", "h1:np", ["h2"], { with: ranges(NOWHERE), seenAs: "host" }),
  ask("source ranges do not hold for the ClusterIP", "out", "vip:80", ["h2"], { with: ranges(NOWHERE), seenAs: "host" }),
  ask("source ranges do not hold for an external IP of the service", "out", "ext:80", ["h2"], {
    with: ranges(NOWHERE, { has: ["lb", "ext"] }),
    seenAs: "host",
  }),
  ask("source ranges: without endpoints a client within them is refused", "out", "lb:80", "REJECT", {
    with: ranges(OUT_NET, { endpoints: [] }),
  }),
  ask("source ranges: without endpoints a client outside of them is still dropped", "out", "lb:80", "DROP", {
    with: ranges(NOWHERE, { endpoints: [] }),
  }),
  ask("source ranges and policy Local: a client within them reaches the local endpoint", "out", "lb:80", ["h1c1"], {
    with: ranges(OUT_NET, { endpoints: [at("h1c1"), at("h2")], spec: { externalTrafficPolicy: "Local" } }),
  }),
  ask("source ranges and policy Local: a client outside of them is dropped", "out", "lb:80", "DROP", {
    with: ranges(NODE_NET, { endpoints: [at("h1c1"), at("h2")], spec: { externalTrafficPolicy: "Local" } }),
  }),
  ask("source ranges and policy Local: a container outside of them is dropped, too", "h1c1", "lb:80", "DROP", {
    with: ranges(OUT_NET, { endpoints: [at("h1c1"), at("h2")], spec: { externalTrafficPolicy: "Local" } }),
  }),
  ask("source ranges of UDP drop too", "out", "lb:53/udp", "DROP", {
    with: ranges(NODE_NET, { spec: { ports: [{ protocol: "UDP", port: 53 }] } }),
  }),
  ask("source ranges of one service are not its neighbour's", "out", "lb2:80", ["h2"], {
    with: ranges(NOWHERE),
    services: [ranges(NOWHERE), far("lb")],
    seenAs: "host",
  }),
];
