import { expect, test } from "vitest";
import { aNode, aService, aSlice, aState } from "#test/states.ts";
import type { Node } from "#proto/node.ts";
import type { NodeContext } from "./compile/compile.ts";
import type { TableUpdate } from "./dataplane/mailbox.ts";
import { createFollower } from "./follow.ts";
import type { ClusterState, Touched } from "./sync/state.ts";

const touchedBy = (more: Partial<Touched>): Touched => ({
  revision: 2,
  all: false,
  services: new Set(),
  namespaces: new Set(),
  nodes: new Set(),
  ownWorkloads: new Set(),
  ...more,
});

/** A follower of a state that tests change, and what it put. */
function aFollower(state: ClusterState) {
  const held = { state, node: { ...aNode, zone: "z1" } as NodeContext };
  const puts: TableUpdate[] = [];
  const told: (readonly string[])[] = [];
  const follower = createFollower({
    state: new Proxy(state, { get: (_, field) => Reflect.get(held.state, field) as unknown }),
    node: () => held.node,
    mailbox: { put: (update) => puts.push(update) },
    dns: { apply: () => undefined },
    applied: { want: () => undefined },
    onNotes: ({ refused, healthChecks, nodePorts }) => told.push([...refused.keys(), ...healthChecks.keys(), ...nodePorts.keys()]),
  });
  return { held, puts, told, follower };
}

const hints = (zone: string) => ({ forZones: [{ name: zone }] });
const zoned = [
  { addresses: ["10.0.0.1"], hints: hints("z1") },
  { addresses: ["10.0.0.2"], hints: hints("z2") },
];

test("a change of one service puts that service alone", () => {
  const { held, puts, follower } = aFollower(aState([aService(), aService({ clusterIP: "10.96.0.11" }, "api")], []));
  follower.follow(touchedBy({ all: true }));
  expect(puts[0]?.table?.services.size).toBe(2);
  held.state = { ...held.state, services: new Map([["default/web", aService({ clusterIP: "10.96.0.12" })]]) };
  follower.follow(touchedBy({ services: new Set(["default/web"]) }));
  expect(puts[1]?.table).toBeUndefined();
  expect(puts[1]?.changes.map(({ key }) => key)).toEqual(["default/web"]);
});

test("this host in another zone means all services anew; another host, or a heartbeat of this one, nothing", () => {
  const { held, puts, follower } = aFollower(aState([aService()], [aSlice({ endpoints: zoned })]));
  const backends = () =>
    puts
      .at(-1)
      ?.table?.services.get("default/web")
      ?.frontends[0]?.backends.map(({ address }) => address);
  follower.follow(touchedBy({ all: true }));
  expect(backends()).toEqual(["10.0.0.1"]);
  follower.follow(touchedBy({ nodes: new Set(["h1", "h2"]) }));
  expect(puts.at(-1)).toEqual({ revision: 2, changes: [] });
  held.node = { ...held.node, zone: "z2" };
  follower.follow(touchedBy({ nodes: new Set(["h2"]) }));
  expect(puts.at(-1)?.table).toBeUndefined();
  follower.follow(touchedBy({ nodes: new Set(["h1"]) }));
  expect(backends()).toEqual(["10.0.0.2"]);
});

test("refused addresses, health-check ports and node ports are noted, and told when they change", () => {
  const noted = aService({
    type: "LoadBalancer",
    ports: [{ name: "http", port: 80, nodePort: 30080 }],
    externalTrafficPolicy: "Local",
    healthCheckNodePort: 32000,
    externalIPs: ["127.0.0.1"],
  });
  const slice = aSlice({ endpoints: [{ addresses: ["10.200.1.11"], nodeName: "h1" }] });
  const { held, told, follower } = aFollower(aState([aService({}, "plain"), noted], [slice]));
  const { notes } = follower;
  follower.follow(touchedBy({ all: true }));
  expect(notes.refused.get("default/web")).toEqual([{ address: "127.0.0.1", why: expect.stringContaining("loopback") as string }]);
  expect(notes.healthChecks).toEqual(new Map([["default/web", { port: 32000, localEndpoints: 1 }]]));
  expect(notes.nodePorts.get("default/web")).toMatchObject([{ scope: "nodePort", port: 30080 }]);

  held.state = { ...held.state, services: new Map([["default/web", noted], ["default/plain", aService({ clusterIP: "10.96.0.9" }, "plain")]]) }; // prettier-ignore
  follower.follow(touchedBy({ services: new Set(["default/plain"]) }));
  expect(told).toHaveLength(1);
  held.state = { ...held.state, slicesByService: new Map() };
  follower.follow(touchedBy({ services: new Set(["default/web"]) }));
  expect(notes.healthChecks.get("default/web")?.localEndpoints).toBe(0);
  held.state = { ...held.state, services: new Map() };
  follower.follow(touchedBy({ services: new Set(["default/web"]) }));
  expect(told).toEqual([["default/web", "default/web", "default/web"], ["default/web", "default/web", "default/web"], []]);
});

test("nothing is put before the server was heard once", () => {
  const { puts, follower } = aFollower(aState([], [], { cluster: undefined, nodes: new Map<string, Node>() }));
  follower.recompile();
  expect(puts).toEqual([]);
});
