import { at, GOING, GONE, UNREADY, web, type Flow } from "./flow.ts";

/** Which endpoints get connections: ready, serving, terminating. From a container to its service, unless the row says otherwise. */

const ask = (name: string, endpoints: Parameters<typeof web>[0], want: Flow["want"], more: Partial<Flow> = {}): Flow => ({
  name,
  services: web(endpoints),
  from: "h1c1",
  to: "vip:80",
  want,
  ...more,
});

export const endpointFlows: readonly Flow[] = [
  ask("only ready endpoints get connections", [at("h2"), at("h3", UNREADY)], ["h2"]),
  ask("absent conditions mean ready", [at("h2"), at("h3", { ready: true, serving: true, terminating: false })], ["h2", "h3"]),
  ask("an endpoint that goes gets none while others are ready", [at("h2"), at("h3", GOING)], ["h2"]),
  ask("where none is ready, those that go and still serve get them", [at("h2", GOING), at("h3", UNREADY)], ["h2"]),
  ask("where none is ready, all that go and still serve share", [at("h2", GOING), at("h3", GOING)], ["h2", "h3"]),
  ask("an endpoint that serves, is not ready and does not go gets none", [at("h2", { ready: false, serving: true })], "REJECT"),
  ask("an endpoint that goes and serves no more gets none", [at("h2", GONE)], "REJECT"),
  ask("unready endpoints alone are a refusal", [at("h2", UNREADY), at("h3", UNREADY)], "REJECT"),
  ask("an endpoint with weight 0 gets none", [at("h2", { weight: 0 }), at("h3")], ["h3"]),
  ask("endpoints with weight 0 alone are a refusal", [at("h2", { weight: 0 })], "REJECT"),
  ask("where the ready ones weigh nothing, those that go serve", [at("h2", { weight: 0 }), at("h3", GOING)], ["h3"]),
  ask("publishNotReadyAddresses takes the unready", [at("h2"), at("h3", UNREADY)], ["h2", "h3"], {
    services: web([at("h2"), at("h3", UNREADY)], { spec: { publishNotReadyAddresses: true } }),
  }),
  ask("publishNotReadyAddresses takes those alone that never were ready", [], ["h3"], {
    services: web([at("h3", UNREADY)], { spec: { publishNotReadyAddresses: true } }),
  }),
  ask(
    "of an endpoint that is in two slices, going in one of them, the better word counts",
    [at("h2", GOING), at("h2"), at("h3", GOING)],
    ["h2"],
  ),
  ask("the last endpoint goes, and a client from off the host still reaches it", [at("h1c1", GOING)], ["h1c1"], { from: "out" }),
  ask("a node port follows the readiness too", [], ["h2"], {
    services: web([at("h2"), at("h3", UNREADY)], { has: ["nodePort"] }),
    to: "h1:np",
  }),
  ask("a load balancer's address falls back to those that go, too", [], ["h2"], {
    services: web([at("h2", GOING), at("h3", GONE)], { has: ["lb"] }),
    to: "lb:80",
  }),
];
