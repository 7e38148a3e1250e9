import fc from "fast-check";
import { isDeepStrictEqual } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { kubeClient, startReflector, type KubeObject, type Reflector } from "#test/kube/reflector.ts";
import { waitFor } from "#test/wait-for.ts";
import { startApi, type ApiServer } from "./api-server.ts";
import { ask, openSession } from "./http2-client.ts";

/** core/v1 Endpoints, which follow from Services and their EndpointSlices: lists, pages, Tables, watches. */

const ALL = "/api/v1/endpoints";
const SERVICES = "/api/v1/namespaces/default/services";
const SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

interface ServiceStep {
  readonly service: number;
  /** null: it is deleted. */
  readonly to: { readonly selector: boolean; readonly tier: string } | null;
}
interface SliceStep {
  readonly slice: number;
  readonly to: { readonly service: number; readonly hosts: readonly number[]; readonly ready: boolean } | null;
}
const steps = fc.oneof(
  fc.record<ServiceStep>({
    service: fc.nat(3),
    to: fc.option(fc.record({ selector: fc.boolean(), tier: fc.constantFrom("a", "b") }), { freq: 4 }),
  }),
  fc.record<SliceStep>({
    slice: fc.nat(5),
    to: fc.option(fc.record({ service: fc.nat(4), hosts: fc.uniqueArray(fc.nat(9), { maxLength: 3 }), ready: fc.boolean() }), { freq: 4 }),
  }),
);

async function take({ send }: ApiServer, step: ServiceStep | SliceStep): Promise<void> {
  const [path, name] = "service" in step ? [SERVICES, `web-${step.service}`] : [SLICES, `slice-${step.slice}`];
  const { status } =
    step.to === null
      ? await send({ method: "DELETE", path: `${path}/${name}` })
      : await send({ method: "PUT", path: `${path}/${name}`, body: "service" in step ? serviceBody(name, step) : sliceBody(name, step) });
  expect([200, 201, 404]).toContain(status);
}

function serviceBody(name: string, { to }: ServiceStep): object {
  return {
    metadata: { name, labels: { tier: to?.tier } },
    spec: { ports: [{ port: 80 }], ...(to?.selector === true && { selector: { app: name } }) },
  };
}

function sliceBody(name: string, { to }: SliceStep): object {
  return {
    metadata: { name, labels: { "kubernetes.io/service-name": `web-${to?.service}` } },
    addressType: "IPv4",
    ports: [{ name: "http", port: 8080 }],
    endpoints: to?.hosts.map((host) => ({ addresses: [`192.0.2.${host + 1}`], conditions: { ready: to.ready } })),
  };
}

/** What must be there, straight from what is stored. */
async function expectedOf({ client }: ApiServer): Promise<Record<string, readonly (readonly string[])[]>> {
  const services = (await client.list("Service")).items;
  const slices = (await client.list("EndpointSlice")).items;
  const addresses = (name: string, ready: boolean): string[] =>
    slices
      .filter(({ metadata }) => metadata.labels?.["kubernetes.io/service-name"] === name)
      .flatMap(({ endpoints }) => endpoints.filter(({ conditions }) => (conditions.ready ?? true) === ready))
      .flatMap(({ addresses: [first = ""] }) => first)
      .toSorted();
  const isThere = (name: string): boolean => slices.some(({ metadata }) => metadata.labels?.["kubernetes.io/service-name"] === name);
  return Object.fromEntries(
    services
      .filter(({ metadata, spec }) => spec.selector !== undefined || isThere(metadata.name))
      .map(({ metadata: { name } }) => [`default/${name}`, [addresses(name, true), addresses(name, false)]]),
  );
}

interface Subset {
  readonly addresses?: readonly { readonly ip: string }[];
  readonly notReadyAddresses?: readonly { readonly ip: string }[];
}

function shownOf(objects: Iterable<KubeObject>): Record<string, readonly (readonly string[])[]> {
  return Object.fromEntries(
    Array.from(objects, ({ metadata, subsets }) => {
      const [{ addresses = [], notReadyAddresses = [] } = {}] = (subsets ?? []) as readonly Subset[];
      return [`${metadata.namespace ?? ""}/${metadata.name}`, [addresses, notReadyAddresses].map((list) => list.map(({ ip }) => ip))];
    }),
  );
}

test("whoever follows Endpoints knows at the end what a list says, and that is what Services and slices say", async () => {
  const server = await startApi();
  const client = kubeClient(server, server.tokens.node, "application/json");
  const reflectors: readonly Reflector[] = [
    startReflector(client, { path: ALL, mode: "streaming" }),
    startReflector(client, { path: ALL, mode: "list", timeoutSeconds: 1 }), // again and again from where it was
    startReflector(client, { path: "/api/v1/namespaces/default/endpoints", mode: "list", selectors: "labelSelector=tier%3Da" }),
  ];
  onTestFinished(async () => {
    await Promise.all(reflectors.map((one) => one.stop()));
    client.close();
  });
  await waitFor(() => reflectors.every(({ synced }) => synced), { what: "all to be synced" });
  for (const step of fc.sample(steps, { numRuns: 150, seed: 7 })) await take(server, step);
  const list = (await server.send({ path: ALL })).json;
  const items = list.items as unknown as readonly KubeObject[];
  expect(shownOf(items)).toEqual(await expectedOf(server));
  expect(items.length).toBeGreaterThan(1);
  const known = (one: Reflector): unknown[] => [...one.objects.values()].toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const inTier = items.filter(({ metadata }) => metadata.labels?.["tier"] === "a");
  await waitFor(() => reflectors.every((one, i) => isDeepStrictEqual(known(one), i === 2 ? inTier : items)), { what: "all to have heard" });
  for (const { faults, revisions } of reflectors) {
    expect(faults).toEqual([]);
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
  }
  expect(reflectors.map(({ expired }) => expired)).toEqual([0, 0, 0]);
});

test("lists come in pages and as Tables, one is found by its name, and nobody writes any", async () => {
  const server = await startApi();
  const { send } = server;
  for (const service of [2, 0, 1]) await take(server, { service, to: { selector: true, tier: "a" } });
  await take(server, { slice: 0, to: { service: 1, hosts: [0, 1], ready: true } });
  const first = (await send({ path: `${ALL}?limit=2` })).json;
  expect(first).toMatchObject({ kind: "EndpointsList", items: [{ metadata: { name: "web-0" } }, { metadata: { name: "web-1" } }] });
  const rest = (await send({ path: `${ALL}?limit=2&continue=${first.metadata["continue"]}` })).json;
  expect(rest).toMatchObject({ items: [{ metadata: { name: "web-2" } }] });
  expect(rest.metadata["continue"]).toBeUndefined();
  const TABLE = { accept: "application/json;as=Table;v=v1;g=meta.k8s.io,application/json" };
  expect((await send({ path: `${ALL}?fieldSelector=metadata.name%3Dweb-1`, headers: TABLE })).json).toMatchObject({
    columnDefinitions: [{ name: "Name" }, { name: "Endpoints" }, { name: "Age" }],
    rows: [{ cells: ["web-1", "192.0.2.1:8080,192.0.2.2:8080", expect.stringMatching(/^\d+s$/) as string] }],
  });
  const path = "/api/v1/namespaces/default/endpoints";
  expect((await send({ path: `${path}/web-0` })).json).toMatchObject({ kind: "Endpoints", metadata: { name: "web-0" } });
  expect(await send({ path: `${path}/nope` })).toMatchObject({ status: 404, json: { message: 'endpoints "nope" not found' } });
  expect(await send({ path, method: "POST", body: {} })).toMatchObject({ status: 405 });
  expect(await send({ path: `${ALL}?fieldSelector=subsets%3Dx` })).toMatchObject({ status: 400 });
});

test("who was there before the server knew of Endpoints is told to list again; a status changes nothing", async () => {
  const server = await startApi({ bookmarkAfterMs: 50 });
  const { send } = server;
  await take(server, { service: 0, to: { selector: true, tier: "a" } });
  const before = server.store.revision;
  await take(server, { service: 1, to: { selector: true, tier: "a" } });
  const session = openSession(server);
  const watch = async (query: string): Promise<string> =>
    (await ask(session, { path: `${ALL}?watch=true&timeoutSeconds=1&${query}`, bearer: server.tokens.admin })).text;
  expect(JSON.parse(await watch(`resourceVersion=${before}`))).toMatchObject({ type: "ERROR", object: { code: 410, reason: "Expired" } });
  const { resourceVersion = "" } = (await send({ path: ALL })).json.metadata;
  const body = { status: { conditions: [{ type: "Seen", status: "True" }] } };
  const headers = { "content-type": "application/merge-patch+json" };
  expect(await send({ method: "PATCH", path: `${SERVICES}/web-0/status`, body, headers })).toMatchObject({ status: 200 });
  expect(await watch(`resourceVersion=${resourceVersion}`)).toBe("");
  const [first = ""] = (await watch(`resourceVersion=${resourceVersion}&allowWatchBookmarks=true`)).split("\n");
  expect(JSON.parse(first)).toMatchObject({ type: "BOOKMARK", object: { kind: "Endpoints", apiVersion: "v1" } });
});
