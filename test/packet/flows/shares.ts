import { at, web, type EndpointSketch, type Flow } from "./flow.ts";

/** How connections are shared: equally, by weight, by client. */

const ACCURATE = 20_000;
const UDP = { spec: { ports: [{ protocol: "UDP", port: 53 }] } } as const;
const onPorts = (count: number, more: (i: number) => Partial<EndpointSketch> = () => ({})): EndpointSketch[] =>
  Array.from({ length: count }, (_, i) => at("h2", { port: 8000 + i, ...more(i) }));
const portsOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `h2:${8000 + i}`);
const sticky = (
  timeoutSeconds: number,
): { spec: { sessionAffinity: "ClientIP"; sessionAffinityConfig: { clientIP: { timeoutSeconds: number } } } } => ({
  spec: { sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds } } },
});

const ask = (name: string, services: Flow["services"], want: readonly string[], more: Partial<Flow> = {}): Flow => ({
  name,
  services,
  from: "h1c1",
  to: "vip:80",
  want,
  ...more,
});

const byWeight = (name: string, weights: readonly number[], more: Partial<Flow> = {}): Flow => {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const endpoints = onPorts(weights.length, (i) => ({ weight: weights[i] ?? 1 }));
  return ask(name, web(endpoints), portsOf(weights.length), { shares: weights.map((weight) => weight / total), ...more });
};

export const shareFlows: readonly Flow[] = [
  ask("two endpoints get half of the connections each", web(onPorts(2)), portsOf(2)),
  ask("three endpoints get a third of the connections each", web(onPorts(3)), portsOf(3)),
  ask("two endpoints of UDP get half each, within 2 % of 20,000", web([at("h2"), at("h3")], UDP), ["h2", "h3"], {
    to: "vip:53/udp",
    draws: ACCURATE,
  }),
  ask("seven endpoints get equal shares", web(onPorts(7)), portsOf(7)),
  ask("eight endpoints get equal shares", web(onPorts(8)), portsOf(8)),
  ask("nine endpoints get equal shares", web(onPorts(9)), portsOf(9)),
  ask("forty endpoints get equal shares", web(onPorts(40)), portsOf(40)),
  byWeight("weights of 1 and 3 give a quarter and three quarters", [1, 3]),
  byWeight("weights of 2, 3 and 5 give their part of ten, within 2 % of 20,000", [2, 3, 5], { draws: ACCURATE }),
  byWeight("weights of 10 and 90 give a canary its tenth", [10, 90]),
  byWeight("equal weights are equal shares, whatever their number", [100, 100, 100]),
  byWeight("weights without a common divisor", [7, 11, 13, 17]),
  byWeight("weights of many endpoints", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
  byWeight("weights as large as they may be", [65_535, 65_535]),
  byWeight(
    "many light endpoints take no more than their share of a heavy one, within 2 % of 20,000",
    [...Array<number>(100).fill(1), 65_535],
    {
      draws: ACCURATE,
      except: [
        { mode: "ipvs", why: "its turn comes to each light one side by side, once in 65,635 connections, and here it is asked for 400" },
      ],
    },
  ),
  byWeight("many light endpoints and a heavy one, with ClientIP affinity", [...Array<number>(40).fill(1), 30_000], {
    services: web(
      onPorts(41, (i) => ({ weight: i < 40 ? 1 : 30_000 })),
      sticky(60),
    ),
  }),
  byWeight("weights count for clients from off the host", [1, 4], { from: "out", seenAs: "host" }),
  {
    ...byWeight("weights count for a node port", [1, 4], { to: "h1:np" }),
    services: web([at("h2", { port: 8000, weight: 1 }), at("h2", { port: 8001, weight: 4 })], { has: ["nodePort"] }),
  },
  {
    ...byWeight("weights count for a load balancer's address", [1, 4], { to: "lb:80" }),
    services: web([at("h2", { port: 8000, weight: 1 }), at("h2", { port: 8001, weight: 4 })], { has: ["lb"] }),
  },
  {
    ...byWeight("weights count among the local endpoints of a node port with policy Local", [1, 4], { to: "h1:np", from: "out" }),
    services: web([at("h1c1", { weight: 1 }), at("h1c2", { weight: 4 }), at("h2", { weight: 50 })], {
      has: ["nodePort"],
      spec: { externalTrafficPolicy: "Local" },
    }),
    want: ["h1c1", "h1c2"],
  },
  ask("ClientIP affinity spreads clients that are new", web([at("h2"), at("h3")], sticky(60)), ["h2", "h3"]),
  ask("ClientIP affinity of clients from off the host", web([at("h2"), at("h3")], sticky(60)), ["h2", "h3"], {
    from: "out",
    seenAs: "host",
  }),
  ask("ClientIP affinity of the host itself", web([at("h2"), at("h3")], sticky(60)), ["h2", "h3"], { from: "h1", seenAs: "host" }),
  ask(
    "ClientIP affinity of UDP",
    web([at("h2"), at("h3")], { spec: { ...sticky(60).spec, ports: [{ protocol: "UDP", port: 53 }] } }),
    ["h2", "h3"],
    {
      to: "vip:53/udp",
    },
  ),
  ask("ClientIP affinity at a node port", web([at("h2"), at("h3")], { ...sticky(60), has: ["nodePort"] }), ["h2", "h3"], {
    to: "h1:np",
  }),
  ask(
    "ClientIP affinity at a node port of the host's second address",
    web([at("h2"), at("h3")], { ...sticky(60), has: ["nodePort"] }),
    ["h2", "h3"],
    { to: "h1b:np" },
  ),
  ask("ClientIP affinity at a node port of the bridge", web([at("h2"), at("h3")], { ...sticky(60), has: ["nodePort"] }), ["h2", "h3"], {
    to: "bridge:np",
  }),
  ask("ClientIP affinity at a load balancer's address", web([at("h2"), at("h3")], { ...sticky(60), has: ["lb"] }), ["h2", "h3"], {
    to: "lb:80",
  }),
  ask("ClientIP affinity at an external IP", web([at("h2"), at("h3")], { ...sticky(60), has: ["ext"] }), ["h2", "h3"], {
    to: "ext:80",
  }),
  ask(
    "ClientIP affinity among the local endpoints of policy Local",
    web([at("h1c1"), at("h1c2"), at("h2")], { spec: { ...sticky(60).spec, externalTrafficPolicy: "Local" }, has: ["lb"] }),
    ["h1c1", "h1c2"],
    {
      to: "lb:80",
      from: "out",
    },
  ),
  ask("ClientIP affinity among twelve endpoints", web(onPorts(12), sticky(86_400)), portsOf(12)),
  ask(
    "ClientIP affinity and weights: new clients are shared by weight",
    web([at("h2", { weight: 1 }), at("h3", { weight: 3 })], sticky(1)),
    ["h2", "h3"],
    { shares: [0.25, 0.75] },
  ),
  ask("ClientIP affinity with one endpoint", web([at("h2")], sticky(60)), ["h2"]),
];
