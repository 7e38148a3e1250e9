import { expect, test } from "vitest";
import type { KindName } from "#proto/kinds.ts";
import { parseObject } from "#proto/parse.ts";
import { columnsOf } from "#proto/columns.ts";
import { renderTable } from "./table.ts";

const NOW = Date.parse("2026-01-02T00:00:00Z");
const made = { creationTimestamp: "2026-01-01T23:57:41Z" };

function table(kind: KindName, objects: readonly object[], wide = false): string[] {
  const columns = columnsOf(kind, { wide });
  const rows = objects.map((object) => columns.map((column) => column.cell(parseObject(kind, object) as never, NOW)));
  return renderTable(
    columns.map(({ name }) => name.toUpperCase()),
    rows,
  )
    .trimEnd()
    .split("\n");
}

const service = (name: string, spec: object, status?: object): object => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "default", ...made },
  spec,
  ...(status && { status }),
});

test("services look as kubectl shows them", () => {
  const lines = table("Service", [
    service("web", {
      clusterIP: "10.96.0.10",
      ports: [{ port: 80 }, { name: "s", port: 443, protocol: "UDP" }].map((p, i) => ({ name: `p${i}`, ...p })),
    }),
    service("db", { clusterIP: "None", ports: [] }),
    service("np", { type: "NodePort", clusterIP: "10.96.0.11", ports: [{ port: 80, nodePort: 30080 }] }),
    service("lb", { type: "LoadBalancer", clusterIP: "10.96.0.12", ports: [{ port: 80 }] }),
    service(
      "lb2",
      { type: "LoadBalancer", clusterIP: "10.96.0.13", ports: [{ port: 80 }] },
      { loadBalancer: { ingress: [{ ip: "192.0.2.7" }] } },
    ),
    service(
      "lb3",
      {
        type: "LoadBalancer",
        clusterIP: "10.96.0.14",
        externalIPs: ["198.51.100.1"],
        ports: [
          { name: "a", port: 53, nodePort: 30053, protocol: "UDP" },
          { name: "b", port: 54, protocol: "SCTP" },
        ],
      },
      { loadBalancer: { ingress: [{ ip: "192.0.2.8", ipMode: "VIP" }, { ip: "fd00::8" }, { hostname: "lb.example.com" }] } },
    ),
    service("xip", { clusterIP: "10.96.0.15", externalIPs: ["198.51.100.1", "198.51.100.2"], ports: [{ port: 80 }] }),
    service("ext", { type: "ExternalName", externalName: "example.com" }),
  ]);
  expect(lines).toEqual([
    "NAME   TYPE           CLUSTER-IP   EXTERNAL-IP                                     PORT(S)                AGE",
    "web    ClusterIP      10.96.0.10   <none>                                          80/TCP,443/UDP         2m19s",
    "db     ClusterIP      None         <none>                                          <none>                 2m19s",
    "np     NodePort       10.96.0.11   <none>                                          80:30080/TCP           2m19s",
    "lb     LoadBalancer   10.96.0.12   <pending>                                       80/TCP                 2m19s",
    "lb2    LoadBalancer   10.96.0.13   192.0.2.7                                       80/TCP                 2m19s",
    "lb3    LoadBalancer   10.96.0.14   192.0.2.8,fd00::8,lb.example.com,198.51.100.1   53:30053/UDP,54/SCTP   2m19s",
    "xip    ClusterIP      10.96.0.15   198.51.100.1,198.51.100.2                       80/TCP                 2m19s",
    "ext    ExternalName   <none>       example.com                                     <none>                 2m19s",
  ]);
});

test("-o wide adds the selector of a service", () => {
  const [header, row] = table(
    "Service",
    [service("web", { clusterIP: "10.96.0.10", selector: { app: "web", tier: "front" }, ports: [{ port: 80 }] })],
    true,
  );
  expect(header).toMatch(/AGE +SELECTOR$/);
  expect(row).toMatch(/2m19s +app=web,tier=front$/);
});

test("endpoint slices show three endpoints and count the rest; wide tells service, readiness and nodes", () => {
  const slice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: "web-x", labels: { "kubernetes.io/service-name": "web" }, ...made },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080 }],
    endpoints: [1, 2, 3, 4, 5].map((n) => ({ addresses: [`10.0.0.${n}`], nodeName: `vm-${n % 2}`, conditions: { ready: n > 2 } })),
  };
  const empty = { ...slice, metadata: { name: "none-x", ...made }, ports: [], endpoints: [] };
  expect(table("EndpointSlice", [slice, empty], true)).toEqual([
    "NAME     ADDRESSTYPE   PORTS     ENDPOINTS                                AGE     SERVICE   READY   NODES",
    "web-x    IPv4          8080      10.0.0.1,10.0.0.2,10.0.0.3 + 2 more...   2m19s   web       3/5     vm-1,vm-0",
    "none-x   IPv4          <unset>   <unset>                                  2m19s   <none>    0/0     <none>",
  ]);
});

test("nodes tell readiness, drain, roles and addresses", () => {
  const node = (name: string, status: string | undefined, spec = {}, labels = {}): object => ({
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, labels, ...made },
    spec,
    status: {
      addresses: [{ type: "InternalIP", address: "192.168.56.11" }],
      conditions: status === undefined ? [] : [{ type: "Ready", status }],
      nodeInfo: { kubeletVersion: "v0.1.0", osImage: "Debian" },
    },
  });
  const lines = table("Node", [
    node("vm-1", "True", {}, { "node-role.kubernetes.io/edge": "" }),
    node("vm-2", "Unknown"),
    node("vm-3", "True", { unschedulable: true }),
    node("vm-4", undefined),
  ]);
  expect(lines).toEqual([
    "NAME   STATUS                     ROLES    AGE     VERSION",
    "vm-1   Ready                      edge     2m19s   v0.1.0",
    "vm-2   NotReady                   <none>   2m19s   v0.1.0",
    "vm-3   Ready,SchedulingDisabled   <none>   2m19s   v0.1.0",
    "vm-4   Unknown                    <none>   2m19s   v0.1.0",
  ]);
  expect(table("Node", [node("vm-1", "True")], true)[1]).toMatch(/192\.168\.56\.11 +<none> +Debian +<unknown>$/);
});

test("workloads tell whether they are ready, and wide tells why not", () => {
  const workload = (name: string, more: { meta?: object; spec?: object; status?: object }): object => ({
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name, ...made, ...more.meta },
    spec: { node: "vm-1", ports: [{ name: "http", port: 8080 }], ...more.spec },
    status: more.status ?? {},
  });
  const checks = [{ tcp: { port: 8080 } }];
  const lines = table(
    "Workload",
    [
      workload("no-checks", { spec: { address: "10.0.0.1" } }),
      workload("unknown", { spec: { checks } }),
      workload("failing", { spec: { checks }, status: { ready: false, reason: "ConnectionRefused" } }),
      workload("drained", { spec: { drain: true } }),
      workload("leaving", { meta: { deletionTimestamp: "2026-01-01T23:59:59Z" } }),
    ],
    true,
  );
  expect(lines).toEqual([
    "NAME        NODE   ADDRESS    PORTS      READY           AGE     WEIGHT   REASON",
    "no-checks   vm-1   10.0.0.1   8080/TCP   True            2m19s   1        <none>",
    "unknown     vm-1   <node's>   8080/TCP   Unknown         2m19s   1        <none>",
    "failing     vm-1   <node's>   8080/TCP   False           2m19s   1        ConnectionRefused",
    "drained     vm-1   <node's>   8080/TCP   True,Draining   2m19s   1        <none>",
    "leaving     vm-1   <node's>   8080/TCP   Terminating     2m19s   1        <none>",
  ]);
});

test("events show what happened to which object, and control characters as text", () => {
  const event = {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: "e" },
    involvedObject: { kind: "Service", name: "web" },
    reason: "Repaired",
    message: "a\x1b[2Jb",
    lastTimestamp: "2026-01-01T23:59:15Z",
  };
  expect(table("Event", [event])).toEqual([
    "LAST SEEN   TYPE     REASON     OBJECT        MESSAGE",
    "45s         Normal   Repaired   service/web   a\\u001b[2Jb",
  ]);
});
