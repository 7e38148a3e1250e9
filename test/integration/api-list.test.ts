import { expect, test } from "vitest";
import type { WriteOptions } from "#proto/client.ts";
import { startApi, type ApiServer, type RawAnswer } from "./api-server.ts";

const SERVICES = "/api/v1/namespaces/default/services";

async function withServices(names: readonly string[], labels: (name: string) => Record<string, string> = () => ({})): Promise<ApiServer> {
  const server = await startApi();
  const options: WriteOptions = { namespace: "default" };
  for (const name of names)
    await server.client.create(
      "Service",
      { apiVersion: "v1", kind: "Service", metadata: { name, labels: labels(name) }, spec: { ports: [{ port: 80 }] } },
      options,
    );
  return server;
}

const namesIn = ({ json }: RawAnswer): (string | undefined)[] => json.items.map(({ metadata }) => metadata["name"]);

test("a list says its kind and the revision that a watch may go on from", async () => {
  const { send, store } = await withServices(["a"]);
  const { json } = await send({ path: SERVICES });
  expect(json).toMatchObject({ kind: "ServiceList", apiVersion: "v1", metadata: { resourceVersion: String(store.revision) } });
  expect((await send({ path: "/apis/fairlead.dev/v1/workloads" })).json).toMatchObject({
    kind: "WorkloadList",
    apiVersion: "fairlead.dev/v1",
    items: [],
  });
});

test("a list of one namespace has that one's objects, a list of all has all; of a missing one none", async () => {
  const { send, client } = await withServices(["a"]);
  await client.create(
    "Service",
    { apiVersion: "v1", kind: "Service", metadata: { name: "b" }, spec: { ports: [{ port: 80 }] } },
    { namespace: "kube-system" },
  );
  expect(namesIn(await send({ path: SERVICES }))).toEqual(["a"]);
  expect(namesIn(await send({ path: "/api/v1/services" }))).toEqual(["a", "b"]);
  expect(await send({ path: "/api/v1/namespaces/nons/services" })).toMatchObject({ status: 200, json: { items: [] } });
});

test("pages hold everything once, in order, and all say the first one's revision", async () => {
  const all = Array.from({ length: 23 }, (_, i) => `s${String(i).padStart(2, "0")}`);
  const { send, client } = await withServices(all);
  const seen: (string | undefined)[] = [];
  const revisions = new Set<string | undefined>();
  let token: string | undefined;
  do {
    const page = await send({ path: `${SERVICES}?limit=5${token === undefined ? "" : `&continue=${token}`}` });
    expect(page.json.items.length).toBeLessThanOrEqual(5);
    seen.push(...namesIn(page));
    revisions.add(page.json.metadata["resourceVersion"]);
    token = page.json.metadata["continue"];
    await client.patch("Service", "s00", { metadata: { labels: { n: String(seen.length) } } }, { namespace: "default" });
  } while (token !== undefined);
  expect(seen).toEqual(all);
  expect(revisions.size).toBe(1);
});

test("the limit counts what the selector selects", async () => {
  const { send } = await withServices(["a", "b", "c", "d"], (name) => ({ even: String("bd".includes(name)) }));
  const first = await send({ path: `${SERVICES}?limit=1&labelSelector=even%3Dtrue` });
  expect(namesIn(first)).toEqual(["b"]);
  const rest = await send({ path: `${SERVICES}?limit=1&labelSelector=even%3Dtrue&continue=${first.json.metadata["continue"] ?? ""}` });
  expect([namesIn(rest), rest.json.metadata["continue"]]).toEqual([["d"], undefined]);
});

test.for<[string, string[]]>([
  ["labelSelector=app", ["a", "b"]],
  ["labelSelector=!app", ["c"]],
  ["labelSelector=app%3Da", ["a"]],
  ["labelSelector=app!%3Da", ["b", "c"]],
  ["labelSelector=app+in+(a,b)", ["a", "b"]],
  ["fieldSelector=metadata.name%3Db", ["b"]],
  ["fieldSelector=metadata.namespace%3Ddefault,metadata.name!%3Da", ["b", "c"]],
  ["fieldSelector=spec.clusterIP!%3DNone", ["a", "b", "c"]],
  ["labelSelector=app&fieldSelector=metadata.name%3Da", ["a"]],
  ["unknown=1&timeout=32s&pretty=true", ["a", "b", "c"]],
])("%s selects %j", async ([query, wanted]) => {
  const { send } = await withServices(["a", "b", "c"], (name): Record<string, string> => (name === "c" ? {} : { app: name }));
  expect(namesIn(await send({ path: `${SERVICES}?${query}` }))).toEqual(wanted);
});

test.for<[string, number, RegExp]>([
  ["labelSelector=a%3D%3D%3Db", 400, /^unable to parse requirement/],
  ["fieldSelector=spec.foo%3Dx", 400, /^field label not supported: spec\.foo$/],
  ["limit=many", 400, /limit must be a whole number/],
  ["limit=-1", 400, /limit must be a whole number/],
  ["continue=garbled", 400, /^continue key is not valid$/],
  ["continue=eyJyIjo5OTk5LCJucyI6IiIsIm4iOiIifQ", 400, /^continue key is not valid$/],
  ["resourceVersion=abc", 400, /resourceVersion: Invalid value: "abc"/],
  ["resourceVersion=999999", 504, /^Timeout: Too large resource version: 999999/],
  ["resourceVersion=1&resourceVersionMatch=Exact", 410, /too old/],
  ["resourceVersionMatch=Exact", 422, /forbidden unless resourceVersion is provided/],
  ["sendInitialEvents=true", 422, /^sendInitialEvents is forbidden for list$/],
])("?%s is answered %i", async ([query, code, said]) => {
  const { send } = await withServices(["a"]);
  const { json, headers } = await send({ path: `${SERVICES}?${query}` });
  expect([json.code, json.message]).toEqual([code, expect.stringMatching(said)]);
  // A client would wait and ask the same again, instead of asking without.
  if (code === 504) expect(headers["retry-after"]).toBeUndefined();
});

test("resourceVersion 0, an older one and the newest are answered with what there is now", async () => {
  const { send, store } = await withServices(["a", "b"]);
  for (const query of [
    "resourceVersion=0",
    "resourceVersion=3",
    `resourceVersion=${store.revision}&resourceVersionMatch=Exact`,
    "resourceVersion=3&resourceVersionMatch=NotOlderThan",
  ])
    expect(namesIn(await send({ path: `${SERVICES}?${query}` }))).toEqual(["a", "b"]);
});

test("a page whose first one is older than the log is 410", async () => {
  const { send, store } = await withServices(["a", "b", "c"]);
  const { json } = await send({ path: `${SERVICES}?limit=1` });
  await send({ method: "DELETE", path: `${SERVICES}/c` });
  await store.compact(store.revision);
  const next = await send({ path: `${SERVICES}?limit=1&continue=${json.metadata["continue"] ?? ""}` });
  expect(next.json).toMatchObject({ code: 410, reason: "Expired" });
});
