import { at, UNREADY, web, type EndpointSketch, type Flow, type Sender, type ServiceSketch } from "./flow.ts";

/** trafficDistribution: near endpoints first, by the hints that the server writes. h1 and h2 are in zone-a, h3 is in zone-b. */

const near = (
  trafficDistribution: "PreferSameNode" | "PreferSameZone" | "PreferClose",
  more: Partial<ServiceSketch> = {},
): Omit<ServiceSketch, "endpoints"> => ({
  ...more,
  spec: { ...more.spec, trafficDistribution },
});
const hinted = (machine: EndpointSketch["at"], zone: string, more: Partial<EndpointSketch> = {}): EndpointSketch => {
  const node = machine.slice(0, 2);
  return at(machine, { forZones: [zone], forNodes: [node], ...more });
};
const ask = (name: string, services: Flow["services"], want: Flow["want"], more: Partial<Flow> = {}): Flow => ({
  name,
  services,
  from: "h1c1" satisfies Sender,
  to: "vip:80",
  want,
  ...more,
});
const ZONED = [at("h2", { forZones: ["zone-a"] }), at("h3", { forZones: ["zone-b"] })];

export const topologyFlows: readonly Flow[] = [
  ask("same zone: endpoints of this zone alone get connections", web(ZONED, near("PreferSameZone")), ["h2"]),
  ask("same zone, by its old name PreferClose", web(ZONED, near("PreferClose")), ["h2"]),
  ask("same zone: for the host, too", web(ZONED, near("PreferSameZone")), ["h2"], { from: "h1", seenAs: "host" }),
  ask(
    "same zone: endpoints of this node and of its zone share",
    web([at("h1c2", { forZones: ["zone-a"] }), ...ZONED], near("PreferSameZone")),
    ["h1c2", "h2"],
    {
      seenAs: ["host", "client"],
    },
  ),
  ask(
    "same zone: without an endpoint for this zone all share",
    web([at("h2", { forZones: ["zone-c"] }), at("h3", { forZones: ["zone-b"] })], near("PreferSameZone")),
    ["h2", "h3"],
  ),
  ask("same zone: one ready endpoint without a hint, and all share", web([...ZONED, at("h2c1")], near("PreferSameZone")), [
    "h2",
    "h2c1",
    "h3",
  ]),
  ask(
    "same zone: hints of unready endpoints mean nothing",
    web([at("h2", { forZones: ["zone-a"], ...UNREADY }), at("h3", { forZones: ["zone-b"] })], near("PreferSameZone")),
    ["h3"],
  ),
  ask("same zone: an unready endpoint without a hint disables nothing", web([...ZONED, at("h2c1", UNREADY)], near("PreferSameZone")), [
    "h2",
  ]),
  ask(
    "same zone: an endpoint for several zones is for each of them",
    web([at("h2", { forZones: ["zone-b"] }), at("h3", { forZones: ["zone-b", "zone-a"] })], near("PreferSameZone")),
    ["h3"],
  ),
  ask(
    "same node: an endpoint of this node gets all",
    web([hinted("h1c2", "zone-a"), hinted("h2", "zone-a"), hinted("h3", "zone-b")], near("PreferSameNode")),
    ["h1c2"],
    { seenAs: "host" },
  ),
  ask(
    "same node: without one of this node, those of its zone",
    web([hinted("h2", "zone-a"), hinted("h3", "zone-b")], near("PreferSameNode")),
    ["h2"],
  ),
  ask(
    "same node: without one of this zone either, all",
    web([at("h3", { forZones: ["zone-b"], forNodes: ["h3"] })], near("PreferSameNode")),
    ["h3"],
  ),
  ask("near endpoints also get what comes to a node port", web(ZONED, near("PreferSameZone", { has: ["nodePort"] })), ["h2"], {
    to: "h1:np",
  }),
  ask("near endpoints also get what comes to a load balancer's address", web(ZONED, near("PreferSameZone", { has: ["lb"] })), ["h2"], {
    to: "lb:80",
    from: "out",
    seenAs: "host",
  }),
  ask(
    "hints mean nothing to policy Local",
    web(
      [at("h1c2", { forZones: ["zone-b"] }), at("h2", { forZones: ["zone-a"] })],
      near("PreferSameZone", { spec: { internalTrafficPolicy: "Local" } }),
    ),
    ["h1c2"],
    { seenAs: "host" },
  ),
  ask(
    "near endpoints share by weight",
    web(
      [at("h1c2", { forZones: ["zone-a"], weight: 3 }), at("h2", { forZones: ["zone-a"] }), at("h3", { forZones: ["zone-b"], weight: 9 })],
      near("PreferSameZone"),
    ),
    ["h1c2", "h2"],
    {
      shares: [0.75, 0.25],
      seenAs: ["host", "client"],
    },
  ),
];
