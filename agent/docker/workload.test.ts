import { expect, test } from "vitest";
import { Container, Network } from "./container.ts";
import { workloadName, workloadOf, type HostFacts } from "./workload.ts";

const facts: HostFacts = {
  nodeName: "vm-1",
  nodeIps: ["192.168.56.11"],
  networks: new Map([
    ["n1", Network.parse({ Id: "n1", Name: "bridge", Driver: "bridge" })],
    ["n2", Network.parse({ Id: "n2", Name: "lan", Driver: "macvlan" })],
  ]),
};

interface Shape {
  readonly labels?: Record<string, string>;
  readonly state?: object;
  readonly mode?: string;
  readonly ports?: Record<string, { HostIp: string; HostPort: string }[] | null>;
  readonly networks?: Record<string, object>;
}

/** As `docker inspect` shows one. */
function aContainer({ labels = {}, state = {}, mode = "default", ports = {}, networks }: Shape = {}): Container {
  return Container.parse({
    Id: "0123456789abcdef",
    Name: "/web",
    State: { Running: true, Paused: false, Restarting: false, ...state },
    Config: { Labels: { "fairlead.service": "web", ...labels } },
    HostConfig: { NetworkMode: mode },
    NetworkSettings: {
      Ports: ports,
      Networks: networks ?? { bridge: { NetworkID: "n1", IPAddress: "172.17.0.2", GlobalIPv6Address: "" } },
    },
  });
}

function workload(shape: Shape, more: Partial<HostFacts> = {}) {
  const found = workloadOf(aContainer(shape), { ...facts, ...more });
  if (found.kind !== "workload") throw new Error(found.kind === "fault" ? found.why : "none");
  return { ...found.workload, health: found.health, reason: found.workload.metadata.annotations?.["fairlead.dev/address-reason"] };
}

const anywhere = [
  { HostIp: "0.0.0.0", HostPort: "8080" },
  { HostIp: "::", HostPort: "8080" },
];

test("published: the node's address and the published port, found by the container's own", () => {
  const { spec, reason } = workload({ ports: { "80/tcp": anywhere } });
  expect(spec).toMatchObject({ node: "vm-1", ports: [{ port: 8080, containerPort: 80, protocol: "TCP" }] });
  expect([spec.address, spec.reach]).toEqual([undefined, undefined]);
  expect(reason).toBe("published: 80/tcp as the node's address:8080");
});

test("published at one of the node's addresses", () => {
  const { spec } = workload({ ports: { "80/tcp": [{ HostIp: "192.168.56.11", HostPort: "8080" }] } });
  expect([spec.address, spec.reach]).toEqual(["192.168.56.11", undefined]);
});

test.for([
  { name: "all of IPv4", HostIp: "0.0.0.0", nodeIps: ["192.0.2.1", "2001:db8::1"], address: undefined },
  { name: "all of IPv6", HostIp: "::", nodeIps: ["192.0.2.1", "2001:db8::1"], address: "2001:db8::1" },
  { name: "all of IPv6, and the host has no other", HostIp: "::", nodeIps: ["2001:db8::1"], address: undefined },
  { name: "all of IPv4, which comes second", HostIp: "0.0.0.0", nodeIps: ["2001:db8::1", "192.0.2.1"], address: undefined },
])("published at $name: an address that answers there", ({ HostIp, nodeIps, address }) => {
  const { spec } = workload({ ports: { "80/tcp": [{ HostIp, HostPort: "8080" }] } }, { ...facts, nodeIps });
  expect(spec).toMatchObject({ ports: [{ port: 8080 }] });
  expect([spec.address, spec.reach]).toEqual([address, undefined]);
});

test("published at all of IPv6 on a host that has none: only its own host reaches it", () => {
  const { spec, reason } = workload({ ports: { "80/tcp": [{ HostIp: "::", HostPort: "8080" }] } });
  expect([spec.address, spec.reach]).toEqual(["172.17.0.2", "Node"]);
  expect(reason).toContain("published only at [::]:8080");
});

test("published, and in a network of the LAN too: its own host reaches the published port", () => {
  const { spec } = workload({
    ports: { "80/tcp": anywhere },
    networks: { bridge: { NetworkID: "n1", IPAddress: "172.17.0.2" }, lan: { NetworkID: "n2", IPAddress: "192.168.56.200" } },
  });
  expect(spec).toMatchObject({ ports: [{ port: 8080 }] });
  expect([spec.address, spec.reach]).toEqual([undefined, undefined]);
});

test.for([
  { name: "not published", binding: null, says: "not published: only programs on this host reach it" },
  { name: "published at loopback only", binding: [{ HostIp: "127.0.0.1", HostPort: "8080" }], says: "published only at 127.0.0.1:8080" },
])("$name: its own address, for its own host", ({ binding, says }) => {
  const { spec, reason } = workload({ ports: { "80/tcp": binding } });
  expect(spec).toMatchObject({ address: "172.17.0.2", reach: "Node", ports: [{ port: 80 }] });
  expect(reason).toContain(says);
  expect(reason).toContain("docker run -p 80");
});

test("a routed network: its own address for all hosts, also where its port is published", () => {
  const routed = { cidrs: ["172.17.0.0/16"], refused: new Map() };
  for (const binding of [null, anywhere]) {
    const { spec, reason } = workload({ ports: { "80/tcp": binding } }, { routed });
    expect(spec).toMatchObject({ address: "172.17.0.2", ports: [{ port: 80 }] });
    expect(spec.reach).toBeUndefined();
    expect(reason).toBe("bridge bridge, routed by --docker-routed: the container's own address, which all hosts reach");
  }
});

test("a network that could not be routed: as without, and it says why", () => {
  const routed = { cidrs: ["10.1.0.0/24"], refused: new Map([["172.17.0.0/16", "overlaps 172.17.0.0/16 of the host h1"]]) };
  const { spec, reason } = workload({ ports: { "80/tcp": null } }, { routed });
  expect(spec).toMatchObject({ address: "172.17.0.2", reach: "Node" });
  expect(reason).toContain(
    "publish it (docker run -p 80), or have its network routed: 172.17.0.0/16 overlaps 172.17.0.0/16 of the host h1",
  );
});

test("of several ports those that are published count, and the others are named", () => {
  const { spec, reason } = workload({
    labels: { "fairlead.port": "http=80,metrics=9100" },
    ports: { "80/tcp": anywhere, "9100/tcp": null },
  });
  expect(spec.ports).toMatchObject([{ name: "http", port: 8080 }]);
  expect(reason).toContain("left out: 9100/tcp");
});

test("host network: the node's address", () => {
  const { spec } = workload({ mode: "host", labels: { "fairlead.port": "80" }, networks: { host: { NetworkID: "n0", IPAddress: "" } } });
  expect([spec.address, spec.ports[0]?.port]).toEqual([undefined, 80]);
});

test("macvlan: the container's own address, for all hosts but its own", () => {
  const { spec } = workload({ labels: { "fairlead.port": "80" }, networks: { lan: { NetworkID: "n2", IPAddress: "192.168.56.200" } } });
  expect([spec.address, spec.reach]).toEqual(["192.168.56.200", "OtherNodes"]);
});

test.for([
  { name: "no port is known", shape: {}, says: "fairlead.port=80" },
  { name: "it has no network", shape: { mode: "none" }, says: "it has no network" },
  {
    name: "it shares another's network",
    shape: { mode: "container:0123456789abcdef" },
    says: "(0123456789ab): put the labels on that one",
  },
  {
    name: "it has no address yet",
    shape: { ports: { "80/tcp": null }, networks: { bridge: { NetworkID: "n1", IPAddress: "" } } },
    says: "no address",
  },
  {
    name: "a check of a port that is not there",
    shape: { ports: { "80/tcp": null }, labels: { "fairlead.check": "tcp:81" } },
    says: "numbered 81",
  },
])("$name: it is told so", ({ shape, says }) => {
  expect(workloadOf(aContainer(shape), facts)).toMatchObject({ kind: "fault", why: expect.stringContaining(says) as unknown });
});

test.for([{ Running: false }, { Paused: true }, { Restarting: true }])("%j: it is none", (state) => {
  expect(workloadOf(aContainer({ state, ports: { "80/tcp": anywhere } }), facts)).toEqual({ kind: "none" });
});

test("HEALTHCHECK decides, unless a label names a check", () => {
  const state = { Health: { Status: "starting" } };
  const asDockerSays = workload({ state, ports: { "80/tcp": anywhere } });
  expect([asDockerSays.health, asDockerSays.metadata.annotations?.["fairlead.dev/local-checks"]]).toEqual(["starting", "1"]);
  const asTheLabelSays = workload({ state, labels: { "fairlead.check": "http:80/healthz" }, ports: { "80/tcp": anywhere } });
  expect(asTheLabelSays.health).toBeUndefined();
  expect(asTheLabelSays.spec.checks).toMatchObject([{ http: { port: 8080, path: "/healthz" } }]);
});

test.for([
  ["web", "vm-1", /^web-vm-1$/],
  ["shop_web_1", "vm-1", /^shop-web-1-vm-1-[0-9a-f]{8}$/],
  ["w".repeat(80), "vm-1", /^w{54}-[0-9a-f]{8}$/],
  ["Web", "vm-1.example.com", /^web-vm-1-example-com-[0-9a-f]{8}$/],
] as const)("%s on %s has a name that is a DNS label and nobody else's", ([container, node, name]) => {
  expect(workloadName(container, node)).toMatch(name);
});
