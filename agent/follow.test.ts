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
  const follower = createFollower({
    state: new Proxy(state, { get: (_, field) => Reflect.get(held.state, field) as unknown }),
    node: () => held.node,
    mailbox: { put: (update) => puts.push(update) },
    dns: { apply: () => undefined },
    applied: { want: () => undefined },
  });
  return { held, puts, follower };
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

test("refused addresses are noted for as long as they are asked for", () => {
  const asking = aService({ externalIPs: ["127.0.0.1"] });
  const { held, follower } = aFollower(aState([aService({}, "plain"), asking], []));
  const { notes } = follower;
  follower.follow(touchedBy({ all: true }));
  expect([...notes.refused]).toEqual([["default/web", [{ address: "127.0.0.1", why: expect.stringContaining("loopback") as string }]]]);
  held.state = { ...held.state, services: new Map([["default/plain", asking]]) };
  follower.follow(touchedBy({ services: new Set(["default/web", "default/plain"]) }));
  expect([...notes.refused.keys()]).toEqual(["default/plain"]);
});

test("the first service that is reached from elsewhere changes what holds for the host, the next one does not", () => {
  const nodePort = (port: number) => aService({ type: "NodePort", ports: [{ name: "http", port: 80, nodePort: port }] });
  const { held, puts, follower } = aFollower(aState([aService()], []));
  follower.follow(touchedBy({ all: true }));
  expect(puts[0]?.table?.host.forwards).toEqual([]);
  for (const port of [30080, 30081]) {
    held.state = { ...held.state, services: new Map([["default/web", nodePort(port)]]) };
    follower.follow(touchedBy({ services: new Set(["default/web"]) }));
  }
  expect(puts[1]?.table?.host.forwards).toEqual(["IPv4"]);
  expect(puts[2]?.table).toBeUndefined();
  expect(puts[2]?.changes).toHaveLength(1);
});

test("nothing is put before the server was heard once", () => {
  const { puts, follower } = aFollower(aState([], [], { cluster: undefined, nodes: new Map<string, Node>() }));
  follower.recompile();
  expect(puts).toEqual([]);
});
