import { expect, test } from "vitest";
import { parse } from "yaml";
import { startApi, type ApiServer, type RawAnswer } from "./api-server.ts";

/** Ports of the hosts, policies and annotations of services, over real HTTP and a real store. */

const SERVICES = "/api/v1/namespaces/default/services";
const MERGE = { "content-type": "application/merge-patch+json" };
const SCHEDULER = "fairlead.dev/scheduler";
const RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges";

type Send = ApiServer["send"];
interface PortOf {
  readonly name?: string;
  readonly port: number;
  readonly nodePort?: number;
}

const create = (send: Send, name: string, spec: object = {}, annotations: object = {}): Promise<RawAnswer> =>
  send({ method: "POST", path: SERVICES, body: { metadata: { name, annotations }, spec: { ports: [{ port: 80 }], ...spec } } });
const patch = (send: Send, name: string, body: object): Promise<RawAnswer> =>
  send({ method: "PATCH", path: `${SERVICES}/${name}`, body, headers: MERGE });
const patchSpec = (send: Send, name: string, spec: object): Promise<RawAnswer> => patch(send, name, { spec });

const portsOf = ({ json }: RawAnswer): readonly PortOf[] => json.spec["ports"] as PortOf[];
const nodePortsOf = (answer: RawAnswer): (number | undefined)[] => portsOf(answer).map(({ nodePort }) => nodePort);
const healthPortOf = ({ json }: RawAnswer): number | undefined => json.spec["healthCheckNodePort"] as number | undefined;
const warningsOf = ({ headers }: RawAnswer): string[] => [headers["warning"] ?? []].flat();

/** The field and the reason of the only fault; the refusal changed nothing. */
async function refusal({ store }: ApiServer, attempt: () => Promise<RawAnswer>): Promise<string> {
  const before = store.revision;
  const { status, json } = await attempt();
  expect(store.revision).toBe(before);
  expect(json.details?.causes, json.message).toHaveLength(1);
  const [cause] = json.details?.causes ?? [];
  return `${status} ${cause?.reason ?? ""} ${cause?.field ?? ""}: ${cause?.message ?? ""}`;
}

const local = { type: "LoadBalancer", externalTrafficPolicy: "Local" };

test("Kubernetes' own manifest of a NodePort service works as it is", async () => {
  const { send } = await startApi();
  const manifest = parse(`
    apiVersion: v1
    kind: Service
    metadata:
      name: my-service
    spec:
      type: NodePort
      selector:
        app.kubernetes.io/name: MyApp
      ports:
        - port: 80
          targetPort: 80
          nodePort: 30007
  `) as object;
  const made = await send({ method: "POST", path: SERVICES, body: manifest });
  expect([made.status, nodePortsOf(made), warningsOf(made)]).toEqual([201, [30_007], []]);
});

test("a load balancer with the policy Local gets a port for health checks, keeps it, and gives it back", async () => {
  const api = await startApi();
  const { send } = api;
  const made = await create(send, "web", local);
  const health = healthPortOf(made) ?? 0;
  expect(health).toBeGreaterThanOrEqual(30_000);
  expect(nodePortsOf(made)).not.toContain(health);
  expect(await api.store.claims(`nodeport/TCP/${health}`)).toHaveLength(1);
  expect(healthPortOf(await patchSpec(send, "web", { ports: [{ port: 81 }] }))).toBe(health);
  // A manifest that does not name it, as `replace` sends it.
  const put = await send({
    method: "PUT",
    path: `${SERVICES}/web`,
    body: { metadata: { name: "web" }, spec: { ...local, ports: [{ port: 80 }] } },
  });
  expect(healthPortOf(put)).toBe(health);
  expect(await refusal(api, () => patchSpec(send, "web", { healthCheckNodePort: health === 30_001 ? 30_002 : 30_001 }))).toContain(
    "422 FieldValueInvalid spec.healthCheckNodePort: Invalid value: ",
  );
  expect(await refusal(api, () => create(send, "x", { type: "NodePort", ports: [{ port: 80, nodePort: health }] }))).toContain(
    "spec.ports[0].nodePort: Invalid value: ",
  );
  expect(healthPortOf(await patchSpec(send, "web", { externalTrafficPolicy: "Cluster" }))).toBeUndefined();
  expect((await create(send, "x", { type: "NodePort", ports: [{ port: 80, nodePort: health }] })).status).toBe(201);
  await patchSpec(send, "web", { externalTrafficPolicy: "Local" });
  const inside = await patchSpec(send, "web", { type: "ClusterIP" });
  expect(inside.json.spec).not.toHaveProperty("healthCheckNodePort");
  expect(inside.json.spec).not.toHaveProperty("allocateLoadBalancerNodePorts");
  expect(await api.store.claims("nodeport/")).toEqual([`nodeport/TCP/${health}`]);
});

test("a port for health checks may be asked for: free, in the range, no other port of a host, and only where it means something", async () => {
  const api = await startApi();
  const { send } = api;
  expect(healthPortOf(await create(send, "web", { ...local, healthCheckNodePort: 30_500 }))).toBe(30_500);
  const rows: [object, RegExp][] = [
    [{ ...local, healthCheckNodePort: 30_500 }, /^422 FieldValueInvalid spec\.healthCheckNodePort: .*provided port is already allocated$/],
    [{ ...local, healthCheckNodePort: 80 }, /provided port is not in the valid range\. The range of valid ports is 30000-32767$/],
    [{ ...local, healthCheckNodePort: 30_501, ports: [{ port: 80, nodePort: 30_501 }] }, /is a node port of this service too$/],
    [
      { type: "LoadBalancer", healthCheckNodePort: 30_502 },
      /may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'$/,
    ],
    [{ type: "NodePort", externalTrafficPolicy: "Local", healthCheckNodePort: 30_502 }, /may only be set when `type` is/],
  ];
  for (const [spec, want] of rows) expect(await refusal(api, () => create(send, "x", spec))).toMatch(want);
  const udp = { port: 53, protocol: "UDP", nodePort: 30_500 };
  expect((await create(send, "dns", { type: "NodePort", ports: [udp] })).status).toBe(201);
});

test("with few ports left nobody gets one twice, the ports of one service among them", async () => {
  const api = await startApi({ cluster: { nodePortRange: { from: 30_000, to: 30_003 } } });
  const { send } = api;
  const ports = [
    { name: "a", port: 80 },
    { name: "b", port: 81, nodePort: 30_002 },
    { name: "c", port: 82 },
  ];
  const made = await create(send, "web", { ...local, ports });
  expect([...nodePortsOf(made), healthPortOf(made)].toSorted()).toEqual([30_000, 30_001, 30_002, 30_003]);
  const { status, json } = await create(send, "x", { type: "NodePort" });
  expect([status, json.message]).toEqual([503, "no node port is left in the range 30000-30003"]);
});

test("node ports stay with their ports over changes of number, name and type, and may be left out of a load balancer", async () => {
  const api = await startApi();
  const { send } = api;
  const made = await create(send, "web", {
    type: "NodePort",
    ports: [
      { name: "a", port: 80 },
      { name: "b", port: 81 },
    ],
  });
  const [a, b] = nodePortsOf(made);
  expect(
    nodePortsOf(
      await patchSpec(send, "web", {
        ports: [
          { name: "a", port: 8080 },
          { name: "renamed", port: 81 },
        ],
      }),
    ),
  ).toEqual([a, b]);
  const balancer = await patchSpec(send, "web", { type: "LoadBalancer" });
  expect(nodePortsOf(balancer)).toEqual([a, b]);
  // As in Kubernetes: what is there stays, and what is new gets none.
  const fewer = await patchSpec(send, "web", {
    allocateLoadBalancerNodePorts: false,
    ports: [
      { name: "a", port: 80 },
      { name: "new", port: 82 },
    ],
  });
  expect(nodePortsOf(fewer)).toEqual([a, undefined]);
  expect(nodePortsOf(await patchSpec(send, "web", { type: "NodePort" }))[0]).toBe(a);
  expect(nodePortsOf(await create(send, "none", { type: "LoadBalancer", allocateLoadBalancerNodePorts: false }))).toEqual([undefined]);
  await patchSpec(send, "web", { type: "ClusterIP" });
  expect(await api.store.claims("nodeport/")).toEqual([]);
});

test("fields of a load balancer belong to that type, and its class stays", async () => {
  const api = await startApi();
  const { send } = api;
  const only = "may only be used when `type` is 'LoadBalancer'";
  for (const [spec, field] of [
    [{ loadBalancerClass: "example.com/x" }, "spec.loadBalancerClass"],
    [{ allocateLoadBalancerNodePorts: true }, "spec.allocateLoadBalancerNodePorts"],
    [{ loadBalancerSourceRanges: ["10.0.0.0/8"] }, "spec.loadBalancerSourceRanges"],
  ] as const)
    expect(await refusal(api, () => create(send, "x", spec))).toMatch(
      new RegExp(`^422 FieldValueForbidden ${field}: Forbidden: .*${only}$`),
    );
  const made = await create(send, "web", {
    type: "LoadBalancer",
    loadBalancerClass: "example.com/x",
    ports: [{ port: 80, appProtocol: "http" }],
  });
  expect(warningsOf(made).join("\n")).toMatch(/spec\.ports\[0\]\.appProtocol is kept[^]*spec\.loadBalancerClass is kept/);
  expect(await refusal(api, () => patchSpec(send, "web", { loadBalancerClass: "example.com/y" }))).toContain(
    "spec.loadBalancerClass: Invalid value",
  );
  expect(await refusal(api, () => create(send, "x", { type: "LoadBalancer", loadBalancerClass: "no class" }))).toContain(
    "spec.loadBalancerClass",
  );
  expect((await patchSpec(send, "web", { type: "ClusterIP" })).json.spec).not.toHaveProperty("loadBalancerClass");
});

test("source ranges are taken as people write them, and kept in one form", async () => {
  const api = await startApi();
  const { send } = api;
  const ranges = [" 10.0.0.0/8", "192.168.1.5/24 ", "FD00::/8", "0.0.0.0/0"];
  const { json } = await create(send, "web", { type: "LoadBalancer", loadBalancerSourceRanges: ranges });
  expect(json.spec["loadBalancerSourceRanges"]).toEqual(["10.0.0.0/8", "192.168.1.0/24", "fd00::/8", "0.0.0.0/0"]);
  for (const bad of ["10.0.0.0", "10.0.0.0/33", "any", "010.0.0.0/8", "10.0.0.0/8,11.0.0.0/8"])
    expect(await refusal(api, () => create(send, "x", { type: "LoadBalancer", loadBalancerSourceRanges: ["10.0.0.0/8", bad] }))).toBe(
      `422 FieldValueInvalid spec.loadBalancerSourceRanges[1]: Invalid value: ${JSON.stringify(bad)}: must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
    );
});

test("the annotation from before spec.loadBalancerSourceRanges fills the field, which follows it until somebody writes there", async () => {
  const api = await startApi();
  const { send } = api;
  const balancer = { type: "LoadBalancer" };
  const rangesAfter = async (answer: Promise<RawAnswer>): Promise<unknown> => (await answer).json.spec["loadBalancerSourceRanges"];
  const annotate = (text: string | null, spec: object = {}) => patch(send, "web", { metadata: { annotations: { [RANGES]: text } }, spec });
  expect(await rangesAfter(create(send, "web", balancer, { [RANGES]: "10.0.0.0/8, 192.168.1.5/24" }))).toEqual([
    "10.0.0.0/8",
    "192.168.1.0/24",
  ]);
  expect(await rangesAfter(annotate("10.1.0.0/16"))).toEqual(["10.1.0.0/16"]);
  expect(await refusal(api, () => annotate("10.1.0.0"))).toMatch(
    /^422 FieldValueInvalid metadata\.annotations\[.*\]: .*must be a list of IP ranges/,
  );
  // Moving to the field opens nothing.
  expect(await rangesAfter(annotate(null, { loadBalancerSourceRanges: ["10.1.0.0/16"] }))).toEqual(["10.1.0.0/16"]);
  expect(await rangesAfter(annotate("10.9.0.0/16"))).toEqual(["10.1.0.0/16"]);
  expect(await refusal(api, () => patchSpec(send, "web", { type: "ClusterIP", loadBalancerSourceRanges: null }))).toMatch(
    /^422 FieldValueForbidden metadata\.annotations\[.*\]: .*may only be used when `type` is 'LoadBalancer'$/,
  );
  await create(send, "second", balancer, { [RANGES]: "10.0.0.0/8" });
  const inside = patch(send, "second", { metadata: { annotations: { [RANGES]: null } }, spec: { type: "ClusterIP" } });
  expect((await inside).json.spec).not.toHaveProperty("loadBalancerSourceRanges");
});

test("the scheduler is one that IPVS has", async () => {
  const api = await startApi();
  const { send } = api;
  for (const name of ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf"])
    expect((await create(send, `s-${name}`, {}, { [SCHEDULER]: name })).status, name).toBe(201);
  for (const name of ["", "RR", "random", "rr -p 5"])
    expect(await refusal(api, () => create(send, "x", {}, { [SCHEDULER]: name }))).toMatch(
      /^422 FieldValueNotSupported metadata\.annotations\[fairlead\.dev\/scheduler\]: Unsupported value: .*must be one of rr, wrr, lc,/,
    );
});
