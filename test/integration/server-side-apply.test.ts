import { expect, test } from "vitest";
import { startApi, type ApiServer, type RawAnswer } from "./api-server.ts";

/** Server-side apply and metadata.managedFields over real HTTP and a real store. The rules themselves: server/api/ownership/apply.test.ts. */

const WEB = "/api/v1/namespaces/default/services/web";
const WORKLOAD = "/apis/fairlead.dev/v1/namespaces/default/workloads/web-1";
const APPLY = { "content-type": "application/apply-patch+yaml" };
const MERGE = { "content-type": "application/merge-patch+json" };
type Send = ApiServer["send"];
interface Owner {
  readonly manager: string;
  readonly operation: string;
  readonly subresource?: string;
  readonly time: string;
  readonly fieldsV1: Readonly<Record<string, unknown>>;
}

const service = (spec: object = {}, metadata: object = {}): object => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", ...metadata },
  spec: { ports: [{ name: "http", port: 80 }], ...spec },
});
const apply = (send: Send, manager: string, body: string | object, more = "", path = WEB): Promise<RawAnswer> =>
  send({ method: "PATCH", path: `${path}?fieldManager=${manager}${more}`, body, headers: APPLY });
const patch = (send: Send, manager: string, body: object, path = WEB): Promise<RawAnswer> =>
  send({ method: "PATCH", path: `${path}?fieldManager=${manager}`, body, headers: MERGE });
const ownersOf = ({ json }: RawAnswer): readonly Owner[] => (json.metadata["managedFields"] ?? []) as readonly Owner[];
const namesOf = (answer: RawAnswer): string[] =>
  ownersOf(answer)
    .map(({ manager, operation, subresource = "" }) => `${operation} ${manager} ${subresource}`.trim())
    .toSorted();

test("it makes what is not there, and a second time changes nothing, not even the revision", async () => {
  const { send, store } = await startApi();
  const made = await apply(send, "a", service());
  expect([made.status, namesOf(made), made.json.spec["clusterIP"] !== undefined]).toEqual([201, ["Apply a"], true]);
  expect(ownersOf(made)[0]).toMatchObject({
    apiVersion: "v1",
    fieldsType: "FieldsV1",
    fieldsV1: { "f:spec": { "f:ports": { 'k:{"port":80,"protocol":"TCP"}': { ".": {}, "f:name": {}, "f:port": {} } } } },
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/) as string,
  });
  const before = store.revision;
  const again = await apply(send, "a", service());
  expect([again.status, again.json]).toEqual([200, made.json]);
  expect((await apply(send, "b", service({ type: "NodePort" }), "&dryRun=All")).json.spec["type"]).toBe("NodePort");
  expect((await apply(send, "b", { ...service(), metadata: { name: "new" } }, "&dryRun=All", WEB.replace("web", "new"))).status).toBe(201);
  expect(store.revision).toBe(before);
});

test("a conflict is 409 with a cause for each field, and changes nothing; force takes over", async () => {
  const { send, store } = await startApi();
  await send({
    method: "POST",
    path: `${WEB.replace("/web", "")}?fieldManager=kubectl-create`,
    body: service({ selector: { app: "web" } }),
  });
  await patch(send, "kubectl-edit", { metadata: { labels: { x: "1" } } });
  const before = store.revision;
  const wanted = service({ selector: { app: "other" } }, { labels: { x: "2" } });
  const { status, json } = await apply(send, "a", wanted);
  expect([status, json.reason, json.message]).toEqual([
    409,
    "Conflict",
    'Apply failed with 2 conflicts: conflicts with "kubectl-create" using v1:\n- .spec.selector\nconflicts with "kubectl-edit" using v1:\n- .metadata.labels.x',
  ]);
  expect(json.details?.causes).toEqual([
    { reason: "FieldManagerConflict", message: 'conflict with "kubectl-create" using v1', field: ".spec.selector" },
    { reason: "FieldManagerConflict", message: 'conflict with "kubectl-edit" using v1', field: ".metadata.labels.x" },
  ]);
  expect(store.revision).toBe(before);
  const forced = await apply(send, "a", wanted, "&force=true");
  expect([forced.status, forced.json.spec["selector"], namesOf(forced)]).toEqual([
    200,
    { app: "other" },
    ["Apply a", "Update kubectl-create", "Update kubectl-edit"],
  ]);
  const less = await apply(send, "a", service());
  expect(less.json.spec).not.toHaveProperty("selector");
  expect(less.json.metadata.labels ?? {}).toEqual({});
});

test("status is applied at its own path, and neither path touches the other's fields", async () => {
  const { send } = await startApi();
  await send({
    method: "POST",
    path: WORKLOAD.replace("/web-1", ""),
    body: { metadata: { name: "web-1" }, spec: { node: "vm-1", ports: [{ port: 1 }] } },
  });
  const status = {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name: "web-1" },
    spec: { node: "x" },
    status: { ready: true },
  };
  const applied = await apply(send, "a", status, "&force=true", `${WORKLOAD}/status`);
  expect(applied.json).toMatchObject({ spec: { node: "vm-1" }, status: { ready: true } });
  expect(namesOf(applied)).toEqual(["Apply a status", "Update before-first-apply"]);
  expect(ownersOf(applied)[0]?.fieldsV1).toEqual({ "f:status": { "f:ready": {} } });
  const spec = { ...status, spec: { node: "vm-1", weight: 3 }, status: { ready: false } };
  expect((await apply(send, "a", spec, "&force=true", WORKLOAD)).json).toMatchObject({ spec: { weight: 3 }, status: { ready: true } });
});

test("what it needs and what it does not take", async () => {
  const { send, store } = await startApi();
  const before = store.revision;
  const rows: [string, string | object, number, RegExp][] = [
    ["", service(), 422, /^PatchOptions\.meta\.k8s\.io "" is invalid: fieldManager: Required value: is required for apply patch$/],
    [`?fieldManager=${"x".repeat(129)}`, service(), 422, /may not be more than 128 bytes/],
    ["?fieldManager=a%00", service(), 422, /should only contain printable characters/],
    ["?fieldManager=a", service({}, { managedFields: [] }), 400, /^metadata\.managedFields must be nil$/],
    ["?fieldManager=a", service({}, { name: "other" }), 400, /does not match the name on the URL/],
    ["?fieldManager=a", service({ ports: [{ name: "x" }] }), 400, /associative list with keys has an element that omits key field "port"/],
    ["?fieldManager=a&fieldValidation=Strict", service({ prots: [] }), 400, /unknown field "spec\.prots"/],
    ["?fieldManager=a", "kind: Service\nmetadata: {name: web\n", 400, /not valid YAML/],
    ["?fieldManager=a", "a: &a [x]\nb: *a\n", 400, /not valid YAML: anchors \(&name\) are not taken/],
    ["?fieldManager=a", "- web\n", 400, /must be a Service as a JSON object/],
    ["?fieldManager=a", service({ type: "Wrong" }), 422, /spec\.type: Unsupported value/],
  ];
  for (const [query, body, status, message] of rows) {
    const { json } = await send({ method: "PATCH", path: `${WEB}${query}`, body, headers: APPLY });
    expect([json.code, json.message]).toEqual([status, expect.stringMatching(message)]);
  }
  expect((await send({ method: "PATCH", path: `${WEB}?force=true`, body: {}, headers: MERGE })).json.message).toContain(
    "force: Forbidden: may not be specified for non-apply patch",
  );
  expect(store.revision).toBe(before);
});

test("a configuration as YAML is as good as the same as JSON, and a second one of it changes nothing", async () => {
  const { send, store } = await startApi();
  const yaml = `# as a person writes it
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: { note: "one: two", 'example.com/port': '80' }
  labels:
    version: "1.0"
spec:
  selector: {app: web}
  ports:
  - name: http
    port: 80
    targetPort: 8080
`;
  const path = `${WEB}?fieldManager=curl`;
  const made = await send({ method: "PATCH", path, body: yaml, headers: APPLY });
  expect([made.status, made.json.metadata]).toMatchObject([201, { labels: { version: "1.0" }, annotations: { "example.com/port": "80" } }]);
  const { revision } = store;
  const json = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", annotations: { note: "one: two", "example.com/port": "80" }, labels: { version: "1.0" } },
    spec: { selector: { app: "web" }, ports: [{ name: "http", port: 80, targetPort: 8080 }] },
  };
  for (const body of [yaml, json, `---\n${yaml}`, yaml.replaceAll("\n", "\r\n")])
    expect((await send({ method: "PATCH", path, body, headers: APPLY })).json).toEqual(made.json);
  expect(store.revision).toBe(revision);
});

test("notes begin with a writer who gives a name; hosts are told of none; a client can clear and carry them", async () => {
  const { send, store } = await startApi();
  const plain = await send({ method: "POST", path: WEB.replace("/web", ""), body: service() });
  expect(plain.json.metadata).not.toHaveProperty("managedFields");
  // Who changes nothing begins nothing.
  expect((await patch(send, "kubectl-patch", { spec: { type: "ClusterIP" } })).json).toEqual(plain.json);
  const labelled = await patch(send, "kubectl-label", { metadata: { labels: { x: "1" } } });
  expect(namesOf(labelled)).toEqual(["Update before-first-apply", "Update kubectl-label"]);
  // Whoever then writes without a name is known by its program.
  const nameless = await send({
    method: "PATCH",
    path: WEB,
    body: { metadata: { labels: { y: "1" } } },
    headers: { ...MERGE, "user-agent": "curl/8" },
  });
  expect(namesOf(nameless)).toContain("Update curl");
  // What the server itself filled in is nobody's to lose: a PUT that leaves it out takes it from nobody.
  const put = await send({ method: "PUT", path: `${WEB}?fieldManager=replacer`, body: service({}, { labels: { x: "1" } }) });
  expect(ownersOf(put).find(({ manager }) => manager === "before-first-apply")?.fieldsV1).toMatchObject({
    "f:spec": { "f:clusterIP": {} },
  });
  expect(namesOf(put)).not.toContain("Update curl");

  const snapshot = await send({ path: "/apis/fairlead.dev/v1/snapshot" });
  const changes = await send({ path: `/apis/fairlead.dev/v1/changes?since=0&timeoutMs=0&epoch=${store.epoch}` });
  for (const { text } of [snapshot, changes]) {
    expect(text).toContain('"name":"web"');
    expect(text).not.toContain("managedFields");
  }

  const carried = ownersOf(put).map((owner) => (owner.manager === "replacer" ? owner : { ...owner, manager: "renamed" }));
  const body = [{ op: "replace", path: "/metadata/managedFields", value: carried }];
  const migrated = await send({ method: "PATCH", path: WEB, body, headers: { "content-type": "application/json-patch+json" } });
  expect(namesOf(migrated)).toContain("Update renamed");
  expect(namesOf(migrated)).not.toContain("Update before-first-apply");
  const broken = await patch(send, "a", { metadata: { managedFields: [{ manager: "x", operation: "Wrong" }] } });
  expect([broken.status, broken.json.message]).toEqual([400, expect.stringMatching(/^metadata\.managedFields\[0\]\.operation: /)]);
  const cleared = await patch(send, "a", { metadata: { managedFields: [{}] } });
  expect(cleared.json.metadata).not.toHaveProperty("managedFields");
});

test("a hostile configuration of 35 kB is answered in a moment", async () => {
  const { send } = await startApi();
  await apply(send, "a", service());
  const many = Array.from({ length: 3000 }, (_, i) => ({ port: i }));
  const deep = (levels: number): unknown => (levels === 0 ? "x" : { a: deep(levels - 1) });
  const labels = Object.fromEntries(Array.from({ length: 2500 }, (_, i) => [`l${i}`, "x"]));
  const bodies: object[] = [
    service({ ports: many }),
    service({ ports: many.map(() => ({ port: 1 })) }),
    service({ extra: Array.from({ length: 250 }, () => deep(30)) }),
    service({ extra: deep(90) }),
    service({}, { labels, finalizers: Object.keys(labels) }),
    service({ [`k${".a".repeat(16_000)}`]: 1 }),
  ];
  for (const body of bodies)
    for (const manager of ["a", "b"]) {
      const start = process.cpuUsage();
      const { status } = await apply(send, manager, body, "&force=true");
      const { user, system } = process.cpuUsage(start);
      expect(status).toBeLessThan(500);
      expect((user + system) / 1000, JSON.stringify(body).slice(0, 80)).toBeLessThan(500);
    }
});
