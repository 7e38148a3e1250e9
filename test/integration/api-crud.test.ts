import { expect, test } from "vitest";
import { startApi } from "./api-server.ts";

const SERVICES = "/api/v1/namespaces/default/services";
const WORKLOADS = "/apis/fairlead.dev/v1/namespaces/default/workloads";
const MERGE = { "content-type": "application/merge-patch+json" };

const service = (name: string, more: object = {}, metadata: object = {}): object => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, ...metadata },
  spec: { selector: { app: name }, ports: [{ port: 80 }], ...more },
});
const workload = (name: string, more: object = {}): object => ({
  apiVersion: "fairlead.dev/v1",
  kind: "Workload",
  metadata: { name },
  spec: { node: "vm-1", ports: [{ name: "http", port: 8080 }], ...more },
});

test("a created object is answered as it stands, and read back the same", async () => {
  const { send, store } = await startApi();
  const created = await send({ method: "POST", path: SERVICES, body: service("web") });
  expect(created.status).toBe(201);
  expect(created.headers["content-type"]).toMatch(/^application\/json/);
  expect(created.json).toMatchObject({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "default", resourceVersion: String(store.revision) },
    spec: { type: "ClusterIP", sessionAffinity: "None", internalTrafficPolicy: "Cluster", ports: [{ port: 80, protocol: "TCP" }] },
    status: { loadBalancer: {} },
  });
  expect(created.json.metadata["uid"]).toMatch(/^[0-9a-f-]{36}$/);
  expect(created.json.metadata["creationTimestamp"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(created.json.metadata).not.toHaveProperty("generation");
  expect((await send({ path: `${SERVICES}/web` })).json).toEqual(created.json);
});

test("the first start makes the namespaces default and kube-system, with their name as a label", async () => {
  const { send } = await startApi();
  const { json } = await send({ path: "/api/v1/namespaces" });
  expect(json.items.map(({ metadata, status }) => [metadata["name"], metadata.labels, status])).toEqual(
    ["default", "kube-system"].map((name) => [name, { "kubernetes.io/metadata.name": name }, { phase: "Active" }]),
  );
});

test("checks of a workload stand as they were written, over updates too; who reads them typed, and hosts, get the defaults", async () => {
  const { send, client } = await startApi();
  const checks = [{ http: { port: "http" } }, { tcp: { port: 8080 }, rise: 2 }];
  const made = await send({ method: "POST", path: WORKLOADS, body: workload("web-1", { checks }) });
  expect(made.json.spec["checks"]).toEqual(checks);
  const patched = await send({ method: "PATCH", path: `${WORKLOADS}/web-1`, body: { spec: { weight: 2 } }, headers: MERGE });
  expect(patched.json.spec["checks"]).toEqual(checks);
  const full = [
    { http: { port: "http", path: "/" }, interval: "5s", timeout: "1s", rise: 1, fall: 3 },
    { tcp: { port: 8080 }, interval: "5s", timeout: "1s", rise: 2, fall: 3 },
  ];
  expect((await client.get("Workload", "web-1", { namespace: "default" })).spec.checks).toEqual(full);
  expect((await send({ path: "/apis/fairlead.dev/v1/snapshot" })).text).toContain(JSON.stringify(full[1]));
});

test("generateName makes names that differ", async () => {
  const { send } = await startApi();
  const body = { spec: { ports: [{ port: 80 }] }, metadata: { generateName: "web-" } };
  const names = await Promise.all([1, 2, 3].map(async () => (await send({ method: "POST", path: SERVICES, body })).json.metadata["name"]));
  expect(new Set(names).size).toBe(3);
  for (const name of names) expect(name).toMatch(/^web-[a-z0-9]{5}$/);
});

test("what only the server says cannot be sent: uid, times, status, nulls", async () => {
  const { send } = await startApi();
  const metadata = { uid: "mine", creationTimestamp: null, generation: 7, deletionTimestamp: "2020-01-01T00:00:00Z", managedFields: [{}] };
  const body = { ...service("web", { clusterIP: null }, metadata), status: { loadBalancer: { ingress: [{ ip: "1.2.3.4" }] } } };
  const { status, json, headers } = await send({ method: "POST", path: SERVICES, body });
  expect(status).toBe(201);
  expect(json.metadata["uid"]).not.toBe("mine");
  expect(json.metadata["creationTimestamp"]).toMatch(/^20/);
  for (const key of ["generation", "deletionTimestamp", "managedFields"]) expect(json.metadata).not.toHaveProperty(key);
  expect(json.status).toEqual({ loadBalancer: {} });
  expect(headers["warning"]).toBeUndefined();
});

test("unknown fields: kept with a warning, refused when strict, silent when ignored", async () => {
  const { send, store } = await startApi();
  const body = service("web", { selectr: { a: "b" } });
  const before = store.revision;
  const strict = await send({ method: "POST", path: `${SERVICES}?fieldValidation=Strict`, body });
  expect(strict.status).toBe(400);
  expect(strict.json.message).toBe(
    'Service in version "v1" cannot be handled as a Service: strict decoding error: unknown field "spec.selectr"',
  );
  expect(store.revision).toBe(before);
  const warned = await send({ method: "POST", path: SERVICES, body });
  expect(warned.status).toBe(201);
  expect(warned.headers["warning"]).toBe(String.raw`299 - "unknown field \"spec.selectr\""`);
  expect(warned.json.spec["selectr"]).toEqual({ a: "b" });
  const path = `${SERVICES}/web?fieldValidation=Ignore`;
  expect((await send({ method: "PUT", path, body })).headers["warning"]).toBeUndefined();
  // What was known before is not told again when something else is changed.
  const labelled = await send({ method: "PATCH", path: `${SERVICES}/web`, body: { metadata: { labels: { a: "b" } } }, headers: MERGE });
  expect(labelled.headers["warning"]).toBeUndefined();
});

test("a dry run answers as usual and stores nothing, for every verb", async () => {
  const { send, store } = await startApi();
  await send({ method: "POST", path: SERVICES, body: service("web") });
  await send({ method: "POST", path: WORKLOADS, body: workload("web-1") });
  const before = store.revision;
  const dry = "?dryRun=All";
  expect((await send({ method: "POST", path: `${SERVICES}${dry}`, body: service("new") })).json.metadata).not.toHaveProperty(
    "resourceVersion",
  );
  expect((await send({ method: "POST", path: `${SERVICES}${dry}`, body: service("web") })).json.reason).toBe("AlreadyExists");
  expect((await send({ method: "PUT", path: `${SERVICES}/web${dry}`, body: service("web", { type: "NodePort" }) })).status).toBe(200);
  expect(
    (await send({ method: "PATCH", path: `${SERVICES}/web${dry}`, body: { metadata: { labels: { a: "b" } } }, headers: MERGE })).json
      .metadata.labels,
  ).toEqual({ a: "b" });
  expect((await send({ method: "DELETE", path: `${SERVICES}/web${dry}` })).status).toBe(200);
  expect((await send({ method: "DELETE", path: `${SERVICES}/web`, body: { dryRun: ["All"] } })).status).toBe(200);
  expect((await send({ method: "DELETE", path: `${WORKLOADS}/web-1`, body: { dryRun: ["All"] } })).status).toBe(200);
  expect((await send({ method: "DELETE", path: `${SERVICES}${dry}` })).json.items).toHaveLength(1);
  expect((await send({ method: "POST", path: `${SERVICES}?dryRun=Some`, body: service("new") })).status).toBe(422);
  expect(store.revision).toBe(before);
});

test("optimistic concurrency: a stale resourceVersion is refused for PUT, PATCH and DELETE, and changes nothing", async () => {
  const { send, store } = await startApi();
  const first = await send({ method: "POST", path: SERVICES, body: service("web") });
  const stale = first.json.metadata["resourceVersion"];
  await send({ method: "PATCH", path: `${SERVICES}/web`, body: { metadata: { labels: { v: "2" } } }, headers: MERGE });
  const before = store.revision;
  const message =
    'Operation cannot be fulfilled on services "web": the object has been modified; please apply your changes to the latest version and try again';
  const put = await send({ method: "PUT", path: `${SERVICES}/web`, body: service("web", {}, { resourceVersion: stale }) });
  expect(put.json).toMatchObject({ code: 409, reason: "Conflict", message, details: { name: "web", kind: "services" } });
  const patch = await send({ method: "PATCH", path: `${SERVICES}/web`, body: { metadata: { resourceVersion: stale } }, headers: MERGE });
  expect(patch.json).toMatchObject({ code: 409, reason: "Conflict", message });
  const preconditions = await send({ method: "DELETE", path: `${SERVICES}/web`, body: { preconditions: { resourceVersion: stale } } });
  expect(preconditions.json).toMatchObject({ code: 409, reason: "Conflict", message });
  const uid = await send({ method: "DELETE", path: `${SERVICES}/web`, body: { preconditions: { uid: "another" } } });
  expect(uid.json.message).toMatch(
    /^Operation cannot be fulfilled on Service "web": the UID in the precondition \(another\) does not match/,
  );
  expect(store.revision).toBe(before);
  const current = (await send({ path: `${SERVICES}/web` })).json.metadata["resourceVersion"];
  const good = await send({ method: "PUT", path: `${SERVICES}/web`, body: service("web", {}, { resourceVersion: current }) });
  expect(good.status).toBe(200);
});

test("64 writers without a resourceVersion all succeed, and none is lost", async () => {
  const { send } = await startApi();
  await send({ method: "POST", path: SERVICES, body: service("web") });
  const answers = await Promise.all(
    Array.from({ length: 64 }, (_, i) =>
      send({ method: "PATCH", path: `${SERVICES}/web`, body: { metadata: { labels: { [`l${i}`]: "x" } } }, headers: MERGE }),
    ),
  );
  expect(answers.map(({ status }) => status)).toEqual(Array(64).fill(200));
  const { labels = {} } = (await send({ path: `${SERVICES}/web` })).json.metadata;
  expect(Object.keys(labels)).toHaveLength(64);
});

test("a write that changes nothing keeps the resourceVersion", async () => {
  const { send, store } = await startApi();
  const { json } = await send({ method: "POST", path: SERVICES, body: service("web") });
  const before = store.revision;
  const put = await send({ method: "PUT", path: `${SERVICES}/web`, body: json });
  const patch = await send({ method: "PATCH", path: `${SERVICES}/web`, body: { spec: { type: "ClusterIP" } }, headers: MERGE });
  const bare = await send({ method: "PUT", path: `${SERVICES}/web`, body: service("web") });
  expect([put, patch, bare].map(({ status, json: { metadata } }) => [status, metadata["resourceVersion"]])).toEqual(
    Array(3).fill([200, json.metadata["resourceVersion"]]),
  );
  expect(store.revision).toBe(before);
});

test("PUT of what is not there creates it, but not with a resourceVersion", async () => {
  const { send } = await startApi();
  const refused = await send({ method: "PUT", path: `${SERVICES}/web`, body: service("web", {}, { resourceVersion: "1" }) });
  expect(refused.json).toMatchObject({ code: 404, message: 'services "web" not found' });
  expect((await send({ method: "PUT", path: `${SERVICES}/web`, body: service("web") })).status).toBe(201);
});

test("a merge patch removes with null, merges objects and replaces lists; a JSON patch does as it says or nothing", async () => {
  const { send, store } = await startApi();
  await send({ method: "POST", path: SERVICES, body: service("web", {}, { labels: { a: "1", b: "2" } }) });
  const path = `${SERVICES}/web`;
  const merged = await send({
    method: "PATCH",
    path,
    body: { metadata: { labels: { a: null, c: "3" } }, spec: { ports: [{ port: 81 }] } },
    headers: MERGE,
  });
  expect(merged.json.metadata.labels).toEqual({ b: "2", c: "3" });
  expect(merged.json.spec["ports"]).toEqual([expect.objectContaining({ port: 81 })]);
  const JSON_PATCH = { "content-type": "application/json-patch+json" };
  const done = await send({
    method: "PATCH",
    path,
    headers: JSON_PATCH,
    body: [
      { op: "test", path: "/metadata/labels/b", value: "2" },
      { op: "replace", path: "/metadata/labels/b", value: "5" },
      { op: "add", path: "/spec/selector/x~1y", value: "z" },
    ],
  });
  expect(done.json.metadata.labels).toEqual({ b: "5", c: "3" });
  expect(done.json.spec["selector"]).toEqual({ app: "web", "x/y": "z" });
  const before = store.revision;
  const failed = await send({ method: "PATCH", path, headers: JSON_PATCH, body: [{ op: "remove", path: "/metadata/labels/nope" }] });
  expect(failed.json).toMatchObject({
    code: 422,
    reason: "Invalid",
    message: "the server rejected our request due to an error in our request",
  });
  expect(store.revision).toBe(before);
});

test("a strategic merge patch merges ports by their number; of our own kinds it is answered 415, as of all custom resources", async () => {
  const { send } = await startApi();
  const headers = { "content-type": "application/strategic-merge-patch+json" };
  await send({ method: "POST", path: SERVICES, body: service("web") });
  await send({ method: "POST", path: WORKLOADS, body: workload("web-1") });
  const body = {
    spec: {
      ports: [
        { port: 81, name: "b" },
        { port: 80, name: "a" },
      ],
    },
  };
  const { json } = await send({ method: "PATCH", path: `${SERVICES}/web`, body, headers });
  expect(json.spec["ports"]).toMatchObject([
    { name: "a", port: 80, targetPort: 80 },
    { name: "b", port: 81 },
  ]);
  const patched = await send({
    method: "PATCH",
    path: `${WORKLOADS}/web-1`,
    body: { spec: { ports: [{ port: 8080, name: "web" }] } },
    headers,
  });
  expect(patched.json.spec["ports"]).toEqual([{ name: "web", port: 8080, protocol: "TCP" }]);
});

test.for([["application/json"], ["application/vnd.kubernetes.protobuf"]])(
  "a patch of type %s is answered 415 with the types that are taken",
  async ([type = ""]) => {
    const { send } = await startApi();
    await send({ method: "POST", path: SERVICES, body: service("web") });
    const { json } = await send({ method: "PATCH", path: `${SERVICES}/web`, body: "{}", headers: { "content-type": type } });
    expect(json).toMatchObject({ code: 415, reason: "UnsupportedMediaType" });
    expect(json.message).toBe(
      "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
    );
  },
);

test("status is kept apart: the object's own writes leave it alone, and the reverse", async () => {
  const { send } = await startApi();
  await send({ method: "POST", path: WORKLOADS, body: workload("web-1") });
  const path = `${WORKLOADS}/web-1`;
  const status = await send({
    method: "PATCH",
    path: `${path}/status`,
    headers: MERGE,
    body: { status: { ready: true, reason: "Checked" }, spec: { weight: 9 }, metadata: { labels: { sneaky: "yes" } } },
  });
  expect(status.status).toBe(200);
  expect(status.json).toMatchObject({ status: { ready: true, reason: "Checked" }, spec: { weight: 1 }, metadata: { generation: 1 } });
  expect(status.json.metadata.labels).toBeUndefined();
  const main = await send({ method: "PUT", path, body: { ...workload("web-1", { weight: 2 }), status: { ready: false } } });
  expect(main.json).toMatchObject({ spec: { weight: 2 }, status: { ready: true }, metadata: { generation: 2 } });
  const labelled = await send({ method: "PATCH", path, body: { metadata: { labels: { a: "b" } } }, headers: MERGE });
  expect(labelled.json.metadata["generation"]).toBe(2);
  expect((await send({ path: `${path}/status` })).json).toEqual(labelled.json);
  const put = await send({ method: "PUT", path: `${path}/status`, body: { ...workload("web-1"), status: { ready: false } } });
  expect(put.json).toMatchObject({ spec: { weight: 2 }, status: { ready: false } });
  expect((await send({ path: "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/x/status" })).status).toBe(404);
});

test("what the server filled in stays when it is replaced", async () => {
  const { send } = await startApi();
  const { json } = await send({ method: "POST", path: SERVICES, body: service("web") });
  const put = await send({ method: "PUT", path: `${SERVICES}/web`, body: service("web", { ports: [{ port: 81 }] }) });
  for (const key of ["uid", "creationTimestamp"]) expect(put.json.metadata[key]).toBe(json.metadata[key]);
  expect(put.json.spec["clusterIP"]).toBe(json.spec["clusterIP"]);
  const otherUid = await send({ method: "PUT", path: `${SERVICES}/web`, body: service("web", {}, { uid: "another" }) });
  expect(otherUid.json.reason).toBe("Conflict");
});

test("a deleted service is gone, and its deletion says whose", async () => {
  const { send } = await startApi();
  const { json } = await send({ method: "POST", path: SERVICES, body: service("web") });
  const deleted = await send({ method: "DELETE", path: `${SERVICES}/web`, body: { propagationPolicy: "Background" } });
  expect(deleted.json).toMatchObject({
    kind: "Status",
    status: "Success",
    details: { name: "web", kind: "services", uid: json.metadata["uid"] },
  });
  const missing = await send({ path: `${SERVICES}/web` });
  expect(missing.json).toMatchObject({
    code: 404,
    reason: "NotFound",
    message: 'services "web" not found',
    details: { name: "web", kind: "services" },
  });
  expect((await send({ method: "DELETE", path: `${SERVICES}/web` })).status).toBe(404);
  const grouped = await send({ path: `${WORKLOADS}/nope` });
  expect(grouped.json).toMatchObject({ message: 'workloads.fairlead.dev "nope" not found', details: { group: "fairlead.dev" } });
});

test("a workload drains before it goes: marked with its deadline; at once with a grace of 0", async () => {
  const { send } = await startApi();
  await send({ method: "POST", path: WORKLOADS, body: workload("web-1", { terminationGracePeriodSeconds: 30 }) });
  const before = Date.now();
  const path = `${WORKLOADS}/web-1`;
  const deleted = await send({ method: "DELETE", path });
  expect(deleted.json).toMatchObject({ kind: "Workload", metadata: { deletionGracePeriodSeconds: 30, generation: 2 } });
  const deadline = Date.parse(deleted.json.metadata["deletionTimestamp"] ?? "");
  expect(deadline).toBeGreaterThanOrEqual(before + 30_000);
  expect(deadline).toBeLessThan(Date.now() + 31_001);
  const longer = await send({ method: "DELETE", path, body: { gracePeriodSeconds: 60 } });
  expect(longer.json).toEqual(deleted.json);
  const sooner = await send({ method: "DELETE", path, body: { gracePeriodSeconds: 5 } });
  expect(sooner.json.metadata["deletionGracePeriodSeconds"]).toBe(5);
  // A client cannot take the mark off.
  expect((await send({ method: "PUT", path, body: workload("web-1") })).json.metadata["deletionTimestamp"]).toBe(
    sooner.json.metadata["deletionTimestamp"],
  );
  expect((await send({ method: "DELETE", path, body: { gracePeriodSeconds: 0 } })).json.status).toBe("Success");
  expect((await send({ path })).status).toBe(404);
});

test("a namespace goes with all that is in it; default and kube-system stay", async () => {
  const { send, store } = await startApi();
  await send({ method: "POST", path: "/api/v1/namespaces", body: { metadata: { name: "team" } } });
  for (let i = 0; i < 3; i++) await send({ method: "POST", path: "/api/v1/namespaces/team/services", body: service(`web-${i}`) });
  await send({ method: "POST", path: "/apis/fairlead.dev/v1/namespaces/team/workloads", body: workload("web-1") });
  expect((await send({ method: "DELETE", path: "/api/v1/namespaces/team" })).json.status).toBe("Success");
  for (const path of ["services", "events", "namespaces"].map((plural) => `/api/v1/${plural}`).concat("/apis/fairlead.dev/v1/workloads"))
    expect((await send({ path })).json.items.filter(({ metadata }) => (metadata["namespace"] ?? metadata["name"]) === "team")).toEqual([]);
  const late = await send({ method: "POST", path: "/api/v1/namespaces/team/services", body: service("late") });
  expect(late.json).toMatchObject({ code: 404, message: 'namespaces "team" not found' });
  const before = store.revision;
  for (const name of ["default", "kube-system"])
    expect((await send({ method: "DELETE", path: `/api/v1/namespaces/${name}` })).json).toMatchObject({ code: 403, reason: "Forbidden" });
  expect(store.revision).toBe(before);
});

test("DELETE of a collection takes what the selector selects and answers the list", async () => {
  const { send } = await startApi();
  for (const name of ["a1", "a2", "b1"])
    await send({ method: "POST", path: SERVICES, body: service(name, {}, { labels: { app: name.slice(0, 1) } }) });
  const deleted = await send({ method: "DELETE", path: `${SERVICES}?labelSelector=app%3Da` });
  expect(deleted.json.kind).toBe("ServiceList");
  expect(deleted.json.items.map(({ metadata }) => metadata["name"])).toEqual(["a1", "a2"]);
  expect((await send({ path: SERVICES })).json.items.map(({ metadata }) => metadata["name"])).toEqual(["b1"]);
});
