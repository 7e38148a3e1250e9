import { connect } from "node:tls";
import { expect, test } from "vitest";
import { kindNames, kinds } from "#proto/kinds.ts";
import type { Permission } from "#server/trust/identity.ts";
import type { DeclaredRoute } from "#server/api/route.ts";
import { startApi, type ApiServer } from "./api-server.ts";

const PARAMS: Readonly<Record<string, string>> = { namespace: "default", name: "vm-1", node: "vm-1", group: "fairlead.dev", id: "none" };

/** Called with nothing in the body: who may not call it is told so before that is looked at. */
function pathOf({ path }: DeclaredRoute): string {
  return path.replaceAll(/:([A-Za-z]+)/g, (_, name: string) => PARAMS[name] ?? "x");
}

/** vm-1 writes what its credential is for; the sentence of the design, once more, in the test's own words. */
function allowed(permission: Permission, who: "admin" | "node" | "otherNode" | "joiner"): boolean {
  if (permission.access === "public") return true;
  if (who === "joiner") return permission.access === "joiner";
  if (permission.access === "joiner") return false;
  if (who === "admin" || permission.access === "authenticated") return true;
  if (permission.access === "admin") return false;
  if (permission.access === "node") return who === "node";
  const { kind, verb } = permission;
  if (["get", "list", "watch"].includes(verb)) return true;
  if (verb === "deletecollection") return false;
  if (kind === "Workload") return true; // whose it is, the object says
  if (kind === "Node") return who === "node" && (verb === "update" || verb === "patch");
  return kind === "Event" && (verb === "create" || verb === "patch"); // of its own only: kube-kinds.test.ts
}

async function statusOf({ send }: ApiServer, route: DeclaredRoute, bearer: string | null): Promise<{ status: number; json: object }> {
  const body = route.method === "GET" || route.method === "DELETE" ? undefined : {};
  // A long poll that is allowed shall not wait.
  const path = pathOf(route).endsWith("/changes") ? `${pathOf(route)}?since=0&epoch=none&timeoutMs=0` : pathOf(route);
  return send({ method: route.method, path: route.method === "DELETE" ? `${path}?dryRun=All` : path, body, bearer });
}

test("every route asks for the credential that it declares, and for no other: all routes, all identities", async () => {
  const server = await startApi();
  const routes = server.app.declaredRoutes;
  expect(routes.length).toBeGreaterThan(60);
  for (const route of routes) {
    const isPublic = route.permission.access === "public";
    const name = `${route.method} ${route.path}`;
    for (const bearer of [null, "fla.wrong", `fln.vm-1.${"x".repeat(43)}`, "", "fl1.nonsense"]) {
      const { status, json } = await statusOf(server, route, bearer);
      if (isPublic) expect([name, status]).toEqual([name, expect.not.toBeOneOf([401, 403])]);
      else expect([name, status, json]).toMatchObject([name, 401, { kind: "Status", reason: "Unauthorized", message: "Unauthorized" }]);
    }
    for (const who of ["otherNode", "joiner", "node", "admin"] as const) {
      const { status, json } = await statusOf(server, route, server.tokens[who]);
      if (allowed(route.permission, who)) expect([name, who, status]).toEqual([name, who, expect.not.toBeOneOf([401, 403])]);
      else expect([name, who, status, json]).toMatchObject([name, who, 403, { kind: "Status", reason: "Forbidden" }]);
    }
  }
});

test("every kind has all its routes", async () => {
  const { app } = await startApi();
  const has = (method: string, path: string): boolean => app.declaredRoutes.some((route) => route.method === method && route.path === path);
  for (const { group, plural, namespaced, hasStatus } of kindNames.map((kind) => kinds[kind])) {
    const base = group === "" ? "/api/v1" : `/apis/${group}/v1`;
    const collection = `${base}${namespaced ? "/namespaces/:namespace" : ""}/${plural}`;
    expect(has("GET", `${base}/${plural}`)).toBe(true);
    for (const method of ["GET", "POST"]) expect(has(method, collection)).toBe(true);
    for (const method of ["GET", "PUT", "PATCH", "DELETE"]) expect(has(method, `${collection}/:name`)).toBe(true);
    for (const method of ["GET", "PUT", "PATCH"]) expect(has(method, `${collection}/:name/status`)).toBe(hasStatus);
  }
});

test("a route without a declared permission cannot be added", async () => {
  const { app } = await startApi();
  expect(() => app.get("/late", () => "no")).toThrow();
});

test("a refusal says who may not do what, in Kubernetes' words, and what to do", async () => {
  const { send, tokens } = await startApi();
  const refused = await send({ method: "POST", path: "/api/v1/namespaces/default/services", body: {}, bearer: tokens.node });
  expect(refused.json).toMatchObject({
    message: 'services is forbidden: User "system:node:vm-1" cannot create resource "services" in API group "" in the namespace "default"',
    details: { kind: "services", hint: expect.stringContaining("own Node") as string },
  });
  const cluster = await send({ method: "DELETE", path: "/api/v1/nodes/vm-2", bearer: tokens.node });
  expect(cluster.json.message).toBe(
    'nodes "vm-2" is forbidden: User "system:node:vm-1" cannot delete resource "nodes" in API group "" at the cluster scope',
  );
});

test("a host writes its own workloads, and no other's", async () => {
  const { send, tokens, store } = await startApi();
  const path = "/apis/fairlead.dev/v1/namespaces/default/workloads";
  const body = (node: string): object => ({ metadata: { name: "web-1" }, spec: { node } });
  const before = store.revision;
  expect((await send({ method: "POST", path, body: body("vm-2"), bearer: tokens.node })).status).toBe(403);
  expect(store.revision).toBe(before);
  expect((await send({ method: "POST", path, body: body("vm-1"), bearer: tokens.node })).status).toBe(201);
  const taken = store.revision;
  for (const method of ["DELETE", "PUT"])
    expect(
      (await send({ method, path: `${path}/web-1`, body: method === "PUT" ? body("vm-2") : undefined, bearer: tokens.otherNode })).status,
    ).toBe(403);
  const event = { metadata: { generateName: "web-" }, involvedObject: { kind: "Workload", name: "web-1" }, reason: "Seen" };
  expect(store.revision).toBe(taken);
  expect((await send({ method: "POST", path: "/api/v1/namespaces/default/events", body: event, bearer: tokens.node })).status).toBe(201);
});

test("a path that does not exist is 404 for those who are known, 401 for others; a wrong method is 405", async () => {
  const { send } = await startApi();
  for (const path of [
    "/",
    "/api/v2",
    "/apis/nope/v1/things",
    "/apis/fairlead.dev/v1/nope",
    "/api/v1/namespaces/default/secrets",
    "/api/v1/services/web",
  ]) {
    expect((await send({ path })).json).toMatchObject({
      code: 404,
      reason: "NotFound",
      message: "the server could not find the requested resource",
    });
    expect((await send({ path, bearer: null })).json).toMatchObject({ code: 401 });
  }
  const wrong = await send({ method: "POST", path: "/api/v1/services", body: {} });
  expect(wrong.json).toMatchObject({
    code: 405,
    reason: "MethodNotAllowed",
    message: "the server does not allow this method on the requested resource",
  });
  expect(
    (await send({ method: "POST", path: "/nope", body: "x", headers: { "content-type": "application/vnd.kubernetes.protobuf" } })).status,
  ).toBe(404);
});

test("probes and the version need no credential; metrics and the OpenAPI document need one", async () => {
  const { send } = await startApi();
  for (const path of ["/livez", "/readyz", "/healthz"])
    expect(await send({ path, bearer: null })).toMatchObject({ status: 200, text: "ok" });
  expect((await send({ path: "/version", bearer: null })).json).toMatchObject({
    major: "1",
    gitVersion: expect.stringMatching(/^v1\.\d+\.\d+\+fairlead/) as string,
  });
  for (const path of ["/metrics", "/openapi.json"]) expect((await send({ path, bearer: null })).status).toBe(401);
});

test("metrics count requests by route, and the objects of each kind", async () => {
  const { send } = await startApi();
  await send({ path: "/api/v1/namespaces/default/services/nope" });
  await send({ method: "POST", path: "/api/v1/namespaces", body: { metadata: { name: "team" } } });
  const { text, headers } = await send({ path: "/metrics" });
  expect(headers["content-type"]).toMatch(/^text\/plain/);
  expect(text).toContain('fairlead_requests_total{route="/api/v1/namespaces/:namespace/services/:name",method="GET",code="404"} 1');
  expect(text).toContain('fairlead_objects{kind="Namespace"} 3');
  expect(text).toMatch(/^fairlead_store_revision \d+$/m);
  expect(text).toMatch(/^fairlead_store_commit_seconds_count 1$/m);
  expect(text).toMatch(/^fairlead_(long_polls_pending|watches) 0$/m);
});

test("the OpenAPI document tells of every route and refers only to what it holds", async () => {
  const { app, send } = await startApi();
  const { json } = await send({ path: "/openapi.json" });
  const document = json as unknown as { paths: Record<string, Record<string, unknown>>; components: { schemas: Record<string, unknown> } };
  for (const { method, path } of app.declaredRoutes)
    expect(document.paths[path.replaceAll(/:([A-Za-z]+)/g, "{$1}")]).toHaveProperty(method.toLowerCase());
  const references = new Set(
    Array.from(JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([A-Za-z]+)"/g), ([, name]) => name ?? ""),
  );
  expect([...references].toSorted()).toEqual([...kindNames, "Status"].toSorted());
  for (const name of references) expect(document.components.schemas).toHaveProperty(name);
});

test("discovery tells of every kind in both forms", async () => {
  const { send } = await startApi();
  const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
  const { headers, text } = await send({ path: "/apis", headers: { accept } });
  expect(headers["vary"]).toBe("Accept");
  expect(headers["content-type"]).toMatch(/^application\/json; *g="?apidiscovery\.k8s\.io"?; *v="?v2"?; *as="?APIGroupDiscoveryList"?/);
  expect(text).toContain('"resource":"workloads"');
  expect((await send({ path: "/apis" })).json).toMatchObject({ kind: "APIGroupList" });
  expect((await send({ path: "/api/v1" })).text).toContain('"name":"services/status"');
  expect((await send({ path: "/apis/discovery.k8s.io" })).json).toMatchObject({ kind: "APIGroup", name: "discovery.k8s.io" });
});

test("no credential ever stands in a log", async () => {
  const { send, tokens, logs } = await startApi();
  for (const bearer of Object.values(tokens)) await send({ path: `/api/v1/services?x=${bearer}`, bearer });
  await send({ path: "/api/v1/services", bearer: "fla.something-wrong" });
  const text = logs.join("");
  expect(text).toContain('"msg":"request"');
  for (const bearer of [...Object.values(tokens), "something-wrong", "earer"]) expect(text).not.toContain(bearer);
});

test("what is not HTTP gets a short answer and the connection is closed", async () => {
  const { url, ca } = await startApi();
  const answer = await new Promise<string>((resolve, reject) => {
    let text = "";
    const socket = connect({ host: "127.0.0.1", port: Number(new URL(url).port), ca }, () => socket.write("NOT HTTP AT ALL\r\n\r\n"));
    socket.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    socket.on("close", () => resolve(text)).on("error", reject);
  });
  expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n[^]*"kind":"Status"/);
});
