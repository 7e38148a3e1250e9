import { expect, test } from "vitest";
import type { Write } from "#server/store/store.ts";
import { parseObject } from "#proto/parse.ts";
import { aStoredService, serviceKey, tempStore } from "#test/temp-store.ts";
import { waitFor } from "#test/wait-for.ts";
import { exposeServices, serviceFor } from "./exposed-services.ts";

function aWorkload(ports: object[], metadata: object = {}) {
  return parseObject("Workload", {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name: "web-vm-1", namespace: "shop", labels: { app: "web" }, annotations: { "fairlead.dev/expose": "web" }, ...metadata },
    spec: { node: "vm-1", ports },
  });
}

test("a workload that asks for a service gets one with its label and the ports that its program has", () => {
  expect(serviceFor(aWorkload([{ port: 18_080, containerPort: 80 }]))).toMatchObject({
    metadata: { name: "web", namespace: "shop" },
    spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: 80, protocol: "TCP" }] },
  });
});

test("several ports have names, as services need them; names of the workload's ports are found by name", () => {
  const both = [
    { name: "http", port: 8080 },
    { port: 53, protocol: "UDP" },
  ];
  expect(serviceFor(aWorkload(both))?.spec.ports).toEqual([
    { name: "http", port: 8080, targetPort: "http", protocol: "TCP" },
    { name: "udp-53", port: 53, targetPort: 53, protocol: "UDP" },
  ]);
});

test.for([
  { name: "does not ask", metadata: { annotations: {} } },
  { name: "has no label app", metadata: { labels: {} } },
])("one that $name gets none", ({ metadata }) => {
  expect(serviceFor(aWorkload([{ port: 80 }], metadata))).toBeUndefined();
});

test("nor one without ports", () => expect(serviceFor(aWorkload([]))).toBeUndefined());

/** The names of the services that are made at the start over a store in which all this was written before. */
async function madeAtStart(...writes: readonly Write[]): Promise<string[]> {
  const store = tempStore();
  for (const write of writes) await store.transact([write]);
  const made: string[] = [];
  const stop = new AbortController();
  const warned: unknown[] = [];
  const create = ({ metadata }: { metadata: { name: string } }): Promise<void> => Promise.resolve(void made.push(metadata.name));
  const { ended } = await exposeServices({ store, create, log: { warn: (...all: unknown[]) => void warned.push(all) } }, stop.signal);
  // The last one is asked for while it runs: when it is made, those from before are, too.
  await store.transact([put(aWorkload([{ port: 80 }], { name: "last", annotations: { "fairlead.dev/expose": "last" } }))]);
  await waitFor(() => made.includes("last"), { what: "the last service" });
  stop.abort();
  await ended();
  expect(warned).toEqual([]);
  return made.filter((name) => name !== "last");
}

function put(object: Extract<Write, { op: "put" }>["object"]): Write {
  return { op: "put", object };
}

test("a service that was asked for just before a crash is made at the next start", async () => {
  const asking = aWorkload([{ port: 80 }]);
  const other = aWorkload([{ port: 80 }], { name: "other", annotations: { "fairlead.dev/expose": "gone" } });
  const quiet = aWorkload([{ port: 80 }], { name: "quiet", annotations: {} });
  expect(await madeAtStart(put(asking), put(quiet))).toEqual(["web"]);
  // Touched since in another way: still asked for once.
  expect(await madeAtStart(put(asking), put({ ...asking, status: { ready: true } }))).toEqual(["web"]);
  expect(await madeAtStart(put(asking), { op: "delete", key: { kind: "Workload", namespace: "shop", name: "web-vm-1" } })).toEqual([]);
  expect(await madeAtStart(put(asking), put(aStoredService("web", { namespace: "shop" })))).toEqual([]);
  // What somebody took away stays away.
  const service = put(aStoredService("gone", { namespace: "shop" }));
  expect(await madeAtStart(put(other), service, { op: "delete", key: serviceKey("gone", "shop") }, put({ ...other, status: {} }))).toEqual(
    [],
  );
});
