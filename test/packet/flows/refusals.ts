import { at, GOING, UNREADY, web, type Flow, type Sender, type ServiceSketch } from "./flow.ts";

/** Nobody there: no endpoints, ports that nobody declared, addresses that nobody has; and who answers a ping. */

const ask = (name: string, from: Sender, to: string, want: Flow["want"], service: ServiceSketch = { endpoints: [at("h2")] }): Flow => ({
  name,
  services: [service],
  from,
  to,
  want,
});
const UDP = { spec: { ports: [{ protocol: "UDP", port: 53 }] } } as const;
const NONE = { endpoints: [] };
const LB = { endpoints: [at("h2")], has: ["lb"] } as const;

export const refusalFlows: readonly Flow[] = [
  ask("no endpoints is a refusal at once: host", "h1", "vip:80", "REJECT", NONE),
  ask("no endpoints is a refusal at once: the host's second address", "h1b", "vip:80", "REJECT", NONE),
  ask("no endpoints is a refusal at once: container", "h1c1", "vip:80", "REJECT", NONE),
  ask("no endpoints is a refusal at once: off the host", "out", "vip:80", "REJECT", NONE),
  ask("no endpoints is a refusal at once: another host's container", "h2c1", "vip:80", "REJECT", NONE),
  ask("no endpoints of UDP is a refusal too: host", "h1", "vip:53/udp", "REJECT", { ...NONE, ...UDP }),
  ask("no endpoints of UDP is a refusal too: container", "h1c1", "vip:53/udp", "REJECT", { ...NONE, ...UDP }),
  ask("no endpoints of UDP is a refusal too: off the host", "out", "vip:53/udp", "REJECT", { ...NONE, ...UDP }),
  ask("no endpoints with affinity is a refusal too", "h1c1", "vip:80", "REJECT", { ...NONE, spec: { sessionAffinity: "ClientIP" } }),
  ask("a port that nobody declared is refused: host", "h1", "vip:81", "REJECT"),
  ask("a port that nobody declared is refused: container", "h1c1", "vip:81", "REJECT"),
  ask("a port that nobody declared is refused: off the host", "out", "vip:81", "REJECT"),
  ask("a port that nobody declared is refused, also where no port has an endpoint", "h1c1", "vip:81", "REJECT", NONE),
  ask("a port that nobody declared is refused: UDP of a TCP port", "h1c1", "vip:80/udp", "REJECT"),
  ask("a port that nobody declared is refused: TCP of a UDP port", "h1c1", "vip:53", "REJECT", { endpoints: [at("h2")], ...UDP }),
  ask("a port that nobody declared is refused: a port on which the host itself listens", "out", "vip:8080", "REJECT"),
  ask("a port that nobody declared is refused: the target port", "h1c1", "vip:8080", "REJECT", { endpoints: [at("h1c1")] }),
  ask("a port that nobody declared of a load balancer's address is refused: host", "h1", "lb:81", "REJECT", LB),
  ask("a port that nobody declared of a load balancer's address is refused: container", "h1c1", "lb:81", "REJECT", LB),
  ask("a port that nobody declared of a load balancer's address is refused: off the host", "out", "lb:81", "REJECT", LB),
  ask("a port that nobody declared of a load balancer's address is refused: UDP", "out", "lb:80/udp", "REJECT", LB),
  ask("an address of the range that nobody has goes nowhere: host", "h1", "gap:80", "REFUSED"),
  ask("an address of the range that nobody has goes nowhere: container", "h1c1", "gap:80", "REFUSED"),
  ask("an address of the range that nobody has goes nowhere: off the host", "out", "gap:80", "REFUSED"),
  ask("an address of the range that nobody has goes nowhere: UDP", "h1c1", "gap:53/udp", "REFUSED"),
  ask("an address of the range far from all services goes nowhere: host", "h1", "far-gap:80", "REFUSED"),
  ask("an address of the range far from all services goes nowhere: container", "h1c1", "far-gap:80", "REFUSED"),
  ask("an address of the range far from all services goes nowhere: off the host", "out", "far-gap:443", "REFUSED"),
];

export const pingFlows: readonly Flow[] = [
  ask("a ping of a virtual IP is answered: host", "h1", "vip/ping", "ECHO"),
  ask("a ping of a virtual IP is answered: container", "h1c1", "vip/ping", "ECHO"),
  ask("a ping of a virtual IP is answered: off the host", "out", "vip/ping", "ECHO"),
  ask("a ping of a service of UDP is answered", "h1c1", "vip/ping", "ECHO", { endpoints: [at("h2")], ...UDP }),
  ask("a ping is answered where one of two ports has an endpoint that serves", "h1c1", "vip/ping", "ECHO", {
    endpoints: [at("h2", GOING)],
  }),
  ask("a ping of a load balancer's address is answered", "out", "lb/ping", "ECHO", LB),
  ask("a ping of a load balancer's address is answered: container", "h1c1", "lb/ping", "ECHO", LB),
  ask("a ping of a service without endpoints is refused: host", "h1", "vip/ping", "REJECT", NONE),
  ask("a ping of a service without endpoints is refused: container", "h1c1", "vip/ping", "REJECT", NONE),
  ask("a ping of a service without endpoints is refused: off the host", "out", "vip/ping", "REJECT", NONE),
  ask("a ping of a service without a ready endpoint is refused", "h1c1", "vip/ping", "REJECT", { endpoints: [at("h2", UNREADY)] }),
  ask("a ping of a load balancer's address without endpoints is refused", "out", "lb/ping", "REJECT", { has: ["lb"] }),
  ask("a ping of an address that nobody has is not answered", "h1c1", "gap/ping", "REFUSED"),
  ask("a ping of an address that nobody has is not answered: off the host", "out", "far-gap/ping", "REFUSED"),
];

/** What is no service's is left alone. */
export const aloneFlows: readonly Flow[] = [
  ask("a direct connection is left alone: host to another host", "h1", "h2:8080", "UNTOUCHED"),
  ask("a direct connection is left alone: the host's second address to another host", "h1b", "h2:8080", "UNTOUCHED"),
  ask("a direct connection is left alone: host to itself", "h1", "h1:8080", "UNTOUCHED"),
  ask("a direct connection is left alone: host to its container", "h1", "h1c1:8080", "UNTOUCHED", { endpoints: [at("h1c1")] }),
  ask("a direct connection is left alone: container to its neighbour", "h1c1", "h1c2:8080", "UNTOUCHED", { endpoints: [at("h1c2")] }),
  ask("a direct connection is left alone: container to another host", "h1c1", "h2:8080", "UNTOUCHED"),
  ask("a direct connection is left alone: container to another host's container", "h1c1", "h2c1:8080", "UNTOUCHED"),
  ask("a direct connection is left alone: off the host to a container", "out", "h1c1:8080", "UNTOUCHED", { endpoints: [at("h1c1")] }),
  ask("a direct connection is left alone: off the host to the host", "out", "h1:8080", "UNTOUCHED", { endpoints: [at("h1")] }),
  ask("a direct connection is left alone: UDP of a container", "h1c1", "h2:5353/udp", "UNTOUCHED"),
  ask("a headless service has nothing: its endpoints are reached directly", "h1c1", "h2:8080", "UNTOUCHED", {
    endpoints: [at("h2")],
    vip: "none",
    spec: { clusterIP: "None" },
  }),
  ask("a headless service has nothing: an external IP that it names is left alone", "h1c1", "ext:80", "UNTOUCHED", {
    endpoints: [at("h2")],
    vip: "none",
    has: ["ext"],
    spec: { clusterIP: "None" },
  }),
  ask("an ExternalName service has nothing: an external IP that it names is left alone", "h1c1", "ext:80", "UNTOUCHED", {
    vip: "none",
    has: ["ext"],
    spec: { type: "ExternalName", externalName: "www.example.com" },
  }),
];

export const sameLeafFlows: readonly Flow[] = [
  {
    name: "a service without endpoints next to one that has some is refused",
    services: [...web([]), ...web([at("h2")])],
    from: "h1c1",
    to: "vip:80",
    want: "REJECT",
  },
  {
    name: "a service next to one without endpoints is served",
    services: [...web([]), ...web([at("h2")])],
    from: "h1c1",
    to: "vip2:80",
    want: ["h2"],
  },
];
