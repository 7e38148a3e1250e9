import { at, web, type Flow } from "./flow.ts";

/** Ports and protocols. */

const DNS = { spec: { ports: [{ name: "dns", protocol: "UDP", port: 53 }] } } as const;
const THREE_PROTOCOLS = {
  spec: {
    ports: [
      { name: "tcp", port: 53, targetPort: 8080 },
      { name: "udp", protocol: "UDP", port: 53, targetPort: 5353 },
      { name: "sctp", protocol: "SCTP", port: 53, targetPort: 9999 },
    ],
  },
} as const;
const TWO_PORTS = {
  spec: {
    ports: [
      { name: "http", port: 80, targetPort: 8080 },
      { name: "metrics", port: 9090, targetPort: 8090 },
    ],
  },
} as const;
const NAMED = { spec: { ports: [{ name: "http", port: 80, targetPort: "web" }] } } as const;

export const portFlows: readonly Flow[] = [
  { name: "UDP reaches its endpoint: host", services: web([at("h2")], DNS), from: "h1", to: "vip:53/udp", want: ["h2"], seenAs: "host" },
  { name: "UDP reaches its endpoint: container", services: web([at("h2")], DNS), from: "h1c1", to: "vip:53/udp", want: ["h2"] },
  {
    name: "UDP reaches its endpoint: container to itself",
    services: web([at("h1c1")], DNS),
    from: "h1c1",
    to: "vip:53/udp",
    want: ["h1c1"],
    seenAs: "host",
  },
  {
    name: "UDP reaches its endpoint: off the host to a container",
    services: web([at("h1c1")], DNS),
    from: "out",
    to: "vip:53/udp",
    want: ["h1c1"],
  },
  {
    name: "UDP reaches its endpoint: off the host to another host",
    services: web([at("h3")], DNS),
    from: "out",
    to: "vip:53/udp",
    want: ["h3"],
    seenAs: "host",
  },
  { name: "UDP is spread in equal shares", services: web([at("h2"), at("h3")], DNS), from: "h1c1", to: "vip:53/udp", want: ["h2", "h3"] },
  {
    name: "one port number is a thing of its own for each protocol: TCP",
    services: web([at("h2")], THREE_PROTOCOLS),
    from: "h1c1",
    to: "vip:53",
    want: ["h2:8080"],
  },
  {
    name: "one port number is a thing of its own for each protocol: UDP",
    services: web([at("h2")], THREE_PROTOCOLS),
    from: "h1c1",
    to: "vip:53/udp",
    want: ["h2:5353"],
  },
  {
    name: "one port number is a thing of its own for each protocol: SCTP",
    services: web([at("h2")], THREE_PROTOCOLS),
    from: "h1c1",
    to: "vip:53/sctp",
    want: ["h2:9999"],
  },
  {
    name: "SCTP alone leaves TCP of its number refused",
    services: web([at("h2")], { spec: { ports: [{ protocol: "SCTP", port: 80 }] } }),
    from: "h1c1",
    to: "vip:80",
    want: "REJECT",
  },
  {
    name: "each port of a service has its own target: the first",
    services: web([at("h2")], TWO_PORTS),
    from: "h1c1",
    to: "vip:80",
    want: ["h2:8080"],
  },
  {
    name: "each port of a service has its own target: the second",
    services: web([at("h2")], TWO_PORTS),
    from: "h1c1",
    to: "vip:9090",
    want: ["h2:8090"],
  },
  {
    name: "each port of a service has its own node port: the second",
    services: web([at("h2")], { ...TWO_PORTS, has: ["nodePort"] }),
    from: "h1c1",
    to: "h1:np-2",
    want: ["h2:8090"],
  },
  {
    name: "each port of a service is at the load balancer's address: the second",
    services: web([at("h2")], { ...TWO_PORTS, has: ["lb"] }),
    from: "h1c1",
    to: "lb:9090",
    want: ["h2:8090"],
  },
  {
    name: "a target port like the service's port",
    services: web([at("h2")], { spec: { ports: [{ port: 8080, targetPort: 8080 }] } }),
    from: "h1c1",
    to: "vip:8080",
    want: ["h2:8080"],
  },
  {
    name: "a named target port is another number at each endpoint",
    services: web([at("h2", { port: 8001 }), at("h3", { port: 8002 })], NAMED),
    from: "h1c1",
    to: "vip:80",
    want: ["h2:8001", "h3:8002"],
  },
  {
    name: "one address with two ports is two endpoints",
    services: web([at("h2", { port: 8001 }), at("h2", { port: 8002 })], NAMED),
    from: "h1c1",
    to: "vip:80",
    want: ["h2:8001", "h2:8002"],
  },
  {
    name: "the highest port number is found",
    services: web([at("h2")], { spec: { ports: [{ port: 65535 }] } }),
    from: "h1c1",
    to: "vip:65535",
    want: ["h2"],
  },
  {
    name: "the lowest port number is found",
    services: web([at("h2")], { spec: { ports: [{ port: 1 }] } }),
    from: "h1c1",
    to: "vip:1",
    want: ["h2"],
  },
];
