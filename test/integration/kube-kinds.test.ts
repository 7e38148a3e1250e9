import { expect, test } from "vitest";
import { apiVersionOf } from "#proto/kinds.ts";
import { pathsOf } from "#server/api/kind-paths.ts";
import { documentedKinds } from "#server/api/openapi-v3.ts";
import { startApi, type ApiServer } from "./api-server.ts";
import { ask, openSession } from "./http2-client.ts";

/** Kinds that kube-proxy and kubectl look for, and that follow from others: ServiceCIDR, and Events by their newer names. */

const TABLE = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json" };
const CIDRS = "/apis/networking.k8s.io/v1/servicecidrs";
const EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events";

test("the server's ranges are a ServiceCIDR, to be read and not to be written", async () => {
  const { send, store } = await startApi({ cluster: { serviceCidrs: ["10.96.0.0/16", "fd10::/112"] } });
  const list = await send({ path: CIDRS });
  expect(list.json).toMatchObject({ kind: "ServiceCIDRList", metadata: { resourceVersion: String(store.revision) } });
  expect((await send({ path: `${CIDRS}/kubernetes` })).json).toEqual(list.json.items[0]);
  const { json: table } = await send({ path: CIDRS, headers: TABLE });
  expect(table).toMatchObject({
    columnDefinitions: [{ name: "Name" }, { name: "CIDRs" }, { name: "Age" }],
    rows: [{ cells: ["kubernetes", expect.any(String) as string, expect.stringMatching(/^\d+s$/) as string] }],
  });
  expect(await send({ path: `${CIDRS}/other` })).toMatchObject({
    status: 404,
    json: { message: 'servicecidrs.networking.k8s.io "other" not found' },
  });
  expect(await send({ path: CIDRS, method: "POST", body: {} })).toMatchObject({ status: 405 });
  expect((await send({ path: `${CIDRS}?fieldSelector=metadata.name%3Dother` })).json.items).toEqual([]);
  expect((await send({ path: `${CIDRS}?fieldSelector=spec.cidrs%3Dx` })).status).toBe(400);
});

test("its watch begins with it, marks its end, says which revision it is at, and ends in time", async () => {
  const server = await startApi({ bookmarkAfterMs: 50 });
  const session = openSession(server);
  const watch = async (query: string): Promise<string> =>
    (await ask(session, { path: `${CIDRS}?watch=true&timeoutSeconds=1&${query}`, bearer: server.tokens.node })).text;
  const streaming = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
  expect(linesOf(await watch(streaming))).toMatchObject([
    { type: "ADDED", object: { kind: "ServiceCIDR", metadata: { name: "kubernetes" } } },
    { type: "BOOKMARK", object: { kind: "ServiceCIDR", metadata: { annotations: { "k8s.io/initial-events-end": "true" } } } },
  ]);
  expect(linesOf(await watch("resourceVersion=1"))).toMatchObject([{ type: "MODIFIED" }]); // it may have been another before this start
  expect(await watch(`resourceVersion=${server.store.revision}`)).toBe("");
});

function linesOf(text: string): unknown[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as unknown);
}

test("every kind is selected by the fields that the table of kinds says, and by no other", async () => {
  const { send } = await startApi();
  const statusOf = async (path: string, field: string): Promise<unknown> => {
    const { status, json } = await send({ path: `${path}?fieldSelector=${encodeURIComponent(`${field}=x`)}` });
    return status === 400 ? json.message : status;
  };
  for (const facts of documentedKinds) {
    const { everywhere } = pathsOf(facts);
    const what = `${apiVersionOf(facts)} ${facts.kind}`;
    for (const field of ["metadata.name", "metadata.namespace", ...facts.selectableFields])
      expect([what, field, await statusOf(everywhere, field)]).toEqual([what, field, 200]);
    for (const field of ["spec.foo", "metadata.uid", facts.group === "events.k8s.io" ? "involvedObject.kind" : "regarding.kind"])
      expect([what, await statusOf(everywhere, field)]).toEqual([what, `field label not supported: ${field}`]);
  }
});

/** As kube-proxy tells that it has started (recorded), on the host vm-1. */
const started = {
  apiVersion: "events.k8s.io/v1",
  kind: "Event",
  metadata: { name: "vm-1.18a1b2c3d4e5f607", namespace: "default" },
  eventTime: "2026-01-01T00:00:00.000123Z",
  reportingController: "kube-proxy",
  reportingInstance: "kube-proxy-vm-1",
  action: "StartKubeProxy",
  reason: "Starting",
  regarding: { kind: "Node", name: "vm-1", uid: "vm-1" },
  type: "Normal",
};

test.for<[string, (server: ApiServer) => string]>([
  ["an administrator", ({ tokens }) => tokens.admin],
  ["the host itself", ({ tokens }) => tokens.node],
])("kube-proxy's Event, told by %s, is an Event as any other", async ([, bearerOf]) => {
  const server = await startApi();
  const { send } = server;
  const created = await send({ path: EVENTS, method: "POST", body: started, bearer: bearerOf(server) });
  expect(created).toMatchObject({ status: 201, json: { ...started, metadata: { resourceVersion: String(server.store.revision) } } });
  expect(created.headers["warning"]).toBeUndefined();
  const core = await send({ path: "/api/v1/events?fieldSelector=involvedObject.name%3Dvm-1,involvedObject.kind%3DNode" });
  expect(core.json.items).toMatchObject([
    {
      apiVersion: "v1",
      reason: "Starting",
      involvedObject: { kind: "Node", name: "vm-1" },
      reportingComponent: "kube-proxy",
      eventTime: started.eventTime,
    },
  ]);
  const { json: table } = await send({ path: "/api/v1/events", headers: TABLE });
  expect(table).toMatchObject({
    rows: [{ cells: expect.arrayContaining(["Normal", "Starting", "node/vm-1", "kube-proxy, kube-proxy-vm-1"]) as [] }],
  });
  const { json: newer } = await send({ path: `${EVENTS}?fieldSelector=regarding.kind%3DNode` });
  expect(newer).toMatchObject({ kind: "EventList", apiVersion: "events.k8s.io/v1", items: [{ reportingController: "kube-proxy" }] });
  const { json: newerTable } = await send({ path: EVENTS, headers: TABLE });
  expect(newerTable).toMatchObject({ rows: [{ cells: expect.arrayContaining(["Starting", "node/vm-1"]) as [] }] });
});

test("a host tells of itself only, also by the newer names, and no more than an Event may have", async () => {
  const { send, tokens } = await startApi();
  const other = { ...started, regarding: { kind: "Node", name: "vm-2" } };
  expect(await send({ path: EVENTS, method: "POST", body: other, bearer: tokens.node })).toMatchObject({ status: 403 });
  const long = { ...started, note: "x".repeat(1025) };
  expect(await send({ path: EVENTS, method: "POST", body: long })).toMatchObject({ status: 422 });
});

const patched = { series: { count: 2, lastObservedTime: "2026-01-01T00:01:00.000000Z" } };

test.for<[string, unknown]>([
  ["application/strategic-merge-patch+json", patched], // as client-go's recorder sends it
  ["application/merge-patch+json", patched],
  ["application/json-patch+json", [{ op: "add", path: "/series", value: patched.series }]],
])("what happens again is counted by a patch of its series: %s", async ([type, body]) => {
  const { send, tokens } = await startApi();
  await send({ path: EVENTS, method: "POST", body: started, bearer: tokens.node });
  const path = `${EVENTS}/${started.metadata.name}`;
  const patch = { path, method: "PATCH", body: JSON.stringify(body), headers: { "content-type": type } };
  const answer = await send({ ...patch, bearer: tokens.node });
  expect(answer).toMatchObject({
    status: 200,
    json: { apiVersion: "events.k8s.io/v1", note: "", regarding: { name: "vm-1" }, ...patched },
  });
  expect(answer.headers["warning"]).toBeUndefined();
  const core = (await send({ path: `/api/v1/namespaces/default/events/${started.metadata.name}` })).json;
  expect(core).toMatchObject({ apiVersion: "v1", reason: "Starting", involvedObject: { kind: "Node", name: "vm-1" }, ...patched });
  expect(core).not.toHaveProperty("regarding");
  // Another host's is not its business.
  expect(await send({ ...patch, bearer: tokens.otherNode })).toMatchObject({ status: 403 });
});

test("an Event that is not there is no one's to patch, and is told in the words by which client-go makes it anew", async () => {
  const { send, tokens } = await startApi();
  const patch = { path: `${EVENTS}/nope`, method: "PATCH", body: JSON.stringify(patched), bearer: tokens.node };
  const headers = { "content-type": "application/strategic-merge-patch+json" };
  expect(await send({ ...patch, headers })).toMatchObject({ status: 404, json: { reason: "NotFound" } });
  expect(await send({ ...patch, headers: { "content-type": "application/apply-patch+yaml" } })).toMatchObject({ status: 415 });
  // It may not be made another one's by a patch, either.
  await send({ path: EVENTS, method: "POST", body: started, bearer: tokens.node });
  const stolen = { ...patch, path: `${EVENTS}/${started.metadata.name}`, body: JSON.stringify({ regarding: { name: "vm-2" } }), headers };
  expect(await send(stolen)).toMatchObject({ status: 403 });
});

test("kube-proxy sends it as protocol buffers", async () => {
  const server = await startApi();
  const metadata = field(1, Buffer.concat([text(1, "vm-1.18a1b2c3d4e5f607"), text(2, ""), text(3, "default"), field(8, Buffer.alloc(0))]));
  const regarding = field(8, Buffer.concat([text(1, "Node"), text(2, ""), text(3, "vm-1"), text(4, "vm-1"), text(5, "")]));
  const event = Buffer.concat([
    metadata,
    field(2, Buffer.concat([number(1, 1_767_225_600), number(2, 123_456)])),
    text(4, "kube-proxy"),
    text(5, "kube-proxy-vm-1"),
    text(6, "StartKubeProxy"),
    text(7, "Starting"),
    regarding,
    text(10, ""),
    text(11, "Normal"),
    field(12, Buffer.concat([text(1, ""), text(2, "")])),
    number(15, 0),
  ]);
  const typeMeta = field(1, Buffer.concat([text(1, "events.k8s.io/v1"), text(2, "Event")]));
  const body = Buffer.concat([Buffer.from("k8s\0"), typeMeta, field(2, event)]);
  const answer = await fetchBinary(server, body);
  expect(answer).toMatchObject({
    status: 201,
    json: {
      reason: "Starting",
      eventTime: "2026-01-01T00:00:00.000123Z",
      regarding: { kind: "Node", name: "vm-1" },
      action: "StartKubeProxy",
    },
  });
});

function fetchBinary({ send, tokens }: ApiServer, body: Buffer): ReturnType<ApiServer["send"]> {
  return send({
    path: EVENTS,
    method: "POST",
    bearer: tokens.node,
    body,
    headers: { "content-type": "application/vnd.kubernetes.protobuf", accept: "application/vnd.kubernetes.protobuf, */*" },
  });
}

function field(id: number, bytes: Buffer): Buffer {
  return Buffer.concat([varint(id * 8 + 2), varint(bytes.length), bytes]);
}

function text(id: number, value: string): Buffer {
  return field(id, Buffer.from(value));
}

function number(id: number, value: number): Buffer {
  return Buffer.concat([varint(id * 8), varint(value)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    bytes.push((rest % 128) + (rest >= 128 ? 128 : 0));
    if (rest < 128) return Buffer.from(bytes);
  }
}
