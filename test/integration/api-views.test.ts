import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { startApi, type ApiServer } from "./api-server.ts";

/** Objects in other forms than they are stored in: Tables, and Workloads as Pods. */

const WORKLOADS = "/apis/fairlead.dev/v1/namespaces/default/workloads";
const PODS = "/api/v1/namespaces/default/pods";
const TABLE = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json" };
const workload = (name: string, labels: object = {}) => ({
  apiVersion: "fairlead.dev/v1",
  kind: "Workload",
  metadata: { name, labels },
  spec: { node: "vm-1", address: "10.0.0.7", ports: [{ name: "http", port: 8080 }] },
});

interface Line {
  readonly type: string;
  readonly object: {
    readonly kind: string;
    readonly metadata: Record<string, unknown>;
    readonly status?: Record<string, unknown>;
    readonly rows?: readonly { readonly cells: readonly string[] }[];
  };
}

/** All lines of a watch that ends by itself. */
async function linesOf({ transport }: ApiServer, path: string, accept = "application/json"): Promise<Line[]> {
  const stream = await transport.stream({ path, accept, signal: AbortSignal.timeout(10_000) });
  return (await text(stream))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Line); // from our own server
}

test("a workload is a Pod to those who ask for Pods: alone, in lists and in watches, by label, host and phase", async () => {
  const server = await startApi();
  const { send } = server;
  await send({ method: "POST", path: WORKLOADS, body: workload("web-1", { app: "web" }) });
  await send({ method: "POST", path: WORKLOADS, body: workload("db-1", { app: "db" }) });
  const pod = (await send({ path: `${PODS}/web-1` })).json;
  expect(pod).toMatchObject({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "web-1", namespace: "default", labels: { app: "web" } },
    spec: { nodeName: "vm-1", containers: [{ name: "web-1", ports: [{ name: "http", containerPort: 8080, protocol: "TCP" }] }] },
    status: { phase: "Running", podIP: "10.0.0.7", containerStatuses: [{ ready: true }] },
  });
  const names = async (query: string) => (await send({ path: `${PODS}?${query}` })).json.items.map(({ metadata }) => metadata["name"]);
  expect(await names("")).toEqual(["db-1", "web-1"]);
  expect(await names("labelSelector=app%3Dweb")).toEqual(["web-1"]);
  expect(await names("fieldSelector=spec.nodeName%3Dvm-1,status.phase%21%3DFailed")).toEqual(["db-1", "web-1"]);
  expect(await names("fieldSelector=spec.nodeName%3Dvm-2")).toEqual([]);
  expect(await names("fieldSelector=status.phase%3DPending")).toEqual([]);
  expect((await send({ path: `${PODS}?fieldSelector=spec.color%3Dred` })).json).toMatchObject({ code: 400 });
  expect((await send({ path: `${PODS}/nope` })).json).toMatchObject({ code: 404, message: 'pods "nope" not found' });
  const query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
  const watched = await linesOf(server, `${PODS}?${query}`);
  expect(watched.map(({ type, object }) => [type, object.kind, object.metadata["name"]])).toEqual([
    ["ADDED", "Pod", "db-1"],
    ["ADDED", "Pod", "web-1"],
    ["BOOKMARK", "Pod", undefined],
  ]);
});

test("a host is told what it may do: read Pods and write its own Workloads; what there is not, nobody may", async () => {
  const { send, tokens } = await startApi();
  const may = async (bearer: string, resourceAttributes: object): Promise<unknown> => {
    const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes } };
    const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    const { json } = await send({ method: "POST", path, body, bearer });
    return (json.status as { allowed: boolean }).allowed;
  };
  expect(await may(tokens.node, { verb: "list", resource: "pods" })).toBe(true);
  expect(await may(tokens.node, { verb: "delete", resource: "pods" })).toBe(false);
  expect(await may(tokens.node, { verb: "create", group: "fairlead.dev", resource: "workloads" })).toBe(true);
  expect(await may(tokens.node, { verb: "update", group: "fairlead.dev", resource: "workloads", subresource: "scale" })).toBe(false);
  expect(await may(tokens.node, { verb: "delete", resource: "services" })).toBe(false);
  expect(await may(tokens.admin, { verb: "delete", resource: "services" })).toBe(true);
});

test("a watch of Pods sees a host's address that came after it began", async () => {
  const server = await startApi();
  const { send, client } = server;
  const late = { ...workload("late"), spec: { node: "vm-1", ports: [] } };
  await send({ method: "POST", path: WORKLOADS, body: late });
  const watched = linesOf(server, `${PODS}?watch=true&resourceVersion=0&timeoutSeconds=3`);
  const nodes = { addresses: [{ type: "InternalIP", address: "10.0.0.99" }] };
  await client.patch("Node", "vm-1", { status: nodes }, { subresource: "status" });
  await client.patch("Workload", "late", { metadata: { labels: { again: "yes" } } }, { namespace: "default" });
  const ips = (await watched).map(({ object }) => object.status?.["hostIP"]);
  expect(ips.at(-1)).toBe("10.0.0.99");
  expect(ips.length).toBeGreaterThan(0);
});

test("a Table has the rows of what was asked for, with as much of each object as was asked for", async () => {
  const server = await startApi();
  const { send } = server;
  await send({ method: "POST", path: WORKLOADS, body: workload("web-1", { app: "web" }) });
  const table = (path: string) => send({ path, headers: TABLE });
  const one = JSON.parse((await table(`${WORKLOADS}/web-1`)).text) as {
    kind: string;
    columnDefinitions: { name: string; priority: number }[];
    rows: object[];
  };
  expect(one).toMatchObject({
    kind: "Table",
    rows: [
      {
        cells: ["web-1", "vm-1", "10.0.0.7", "8080/TCP", "True", /s$/, "1", "<none>"].map((cell) =>
          typeof cell === "string" ? cell : (expect.stringMatching(cell) as string),
        ),
        object: { kind: "PartialObjectMetadata", metadata: { name: "web-1" } },
      },
    ],
  });
  expect(one.columnDefinitions.filter(({ priority }) => priority === 1).map(({ name }) => name)).toEqual(["Weight", "Reason"]);
  expect((await table(`${WORKLOADS}?includeObject=Object`)).json).toMatchObject({
    rows: [{ object: { kind: "Workload", spec: { node: "vm-1" } } }],
  });
  expect((await table(`${WORKLOADS}?includeObject=None`)).text).not.toContain('"object"');
  expect((await table(`${WORKLOADS}?includeObject=Everything`)).status).toBe(400);
  const watched = await linesOf(server, `${WORKLOADS}?watch=true&resourceVersion=0&timeoutSeconds=1`, TABLE.accept);
  expect(watched).toMatchObject([
    {
      type: "ADDED",
      object: { kind: "Table", rows: [{ cells: ["web-1", "vm-1"].concat(Array.from({ length: 6 }, () => expect.any(String) as string)) }] },
    },
  ]);
  const plain = await send({ path: `${WORKLOADS}/web-1`, headers: { accept: "application/json, */*" } });
  expect(plain.json.kind).toBe("Workload");
});
