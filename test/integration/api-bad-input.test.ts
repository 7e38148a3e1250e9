import { expect, test } from "vitest";
import { startApi } from "./api-server.ts";

const SERVICES = "/api/v1/namespaces/default/services";
const WORKLOADS = "/apis/fairlead.dev/v1/namespaces/default/workloads";
const SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const service = (spec: object, name = "web"): object => ({ metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } });
const workload = (address: string): object => ({ metadata: { name: "web-1" }, spec: { node: "vm-1", address } });
const slice = (address: string): object => ({
  metadata: { name: "web-a" },
  addressType: "IPv4",
  endpoints: [{ addresses: [address] }],
  ports: [{ port: 80 }],
});

test.for<[what: string, path: string, body: object | string, status: number, said: RegExp]>([
  ["shell metacharacters in a name", SERVICES, service({}, "web;reboot"), 422, /metadata\.name: Invalid value: "web;reboot": must be/],
  ["a name that is a firewall option", SERVICES, service({}, "-A INPUT -j DROP"), 422, /metadata\.name/],
  ["a name with a substitution", SERVICES, service({}, "$(id)"), 422, /metadata\.name/],
  ["a name with a line feed", SERVICES, service({}, "web\n-F"), 422, /metadata\.name/],
  ["a name of 64 characters", SERVICES, service({}, "a".repeat(64)), 422, /metadata\.name: Invalid value: "a{64}": must be 1 to 63/],
  ["a name in another script", SERVICES, service({}, "wéb"), 422, /metadata\.name/],
  ["no name", SERVICES, { spec: { ports: [{ port: 80 }] } }, 422, /metadata\.name: Required value: name or generateName is required/],
  ["port 0", SERVICES, service({ ports: [{ port: 0 }] }), 422, /spec\.ports\[0\]\.port: Invalid value: 0: must be between 1 and 65535/],
  ["port 65536", SERVICES, service({ ports: [{ port: 65536 }] }), 422, /spec\.ports\[0\]\.port: Invalid value: 65536/],
  ["port 1.5", SERVICES, service({ ports: [{ port: 1.5 }] }), 422, /spec\.ports\[0\]\.port: Invalid value: 1\.5: must be a whole number/],
  [
    "two ports of one name",
    SERVICES,
    service({
      ports: [
        { name: "a", port: 1 },
        { name: "a", port: 2 },
      ],
    }),
    422,
    /spec\.ports\[1\]\.name: Duplicate value/,
  ],
  [
    "a cluster IP outside of the range",
    SERVICES,
    service({ clusterIP: "10.97.0.1" }),
    422,
    /spec\.clusterIPs?(\[0\])?: Invalid value: .*10\.97\.0\.1.*range/,
  ],
  [
    "a cluster IP that is taken",
    SERVICES,
    service({ clusterIP: "10.96.0.77" }, "second"),
    422,
    /spec\.clusterIPs?(\[0\])?: Invalid value: .*10\.96\.0\.77.*already allocated/,
  ],
  [
    "a workload at a loopback address",
    WORKLOADS,
    workload("127.0.0.1"),
    422,
    /spec\.address: Invalid value: "127\.0\.0\.1": may not be in the loopback range/,
  ],
  ["a workload at a link-local address", WORKLOADS, workload("169.254.169.254"), 422, /spec\.address: .*link-local/],
  ["a workload at a multicast address", WORKLOADS, workload("224.0.0.1"), 422, /spec\.address: .*multicast/],
  ["a workload in the virtual range", WORKLOADS, workload("10.96.0.5"), 422, /spec\.address: .*10\.96\.0\.5/],
  [
    "a misspelt field of ours",
    WORKLOADS,
    { metadata: { name: "web-1" }, spec: { node: "vm-1", adress: "1" } },
    422,
    /spec\.adress: Forbidden/,
  ],
  ["an endpoint at a loopback address", SLICES, slice("127.0.0.1"), 422, /endpoints\[0\]\.addresses\[0\]: .*loopback/],
  ["an endpoint in the virtual range", SLICES, slice("10.96.3.4"), 422, /endpoints\[0\]\.addresses\[0\]: .*10\.96\.3\.4/],
  [
    "another kind than the path's",
    SERVICES,
    { ...service({}), kind: "Deployment", apiVersion: "apps/v1" },
    400,
    /Deployment in version "apps\/v1" cannot be handled as a Service/,
  ],
  ["an unknown kind", "/apis/apps/v1/namespaces/default/deployments", service({}), 404, /could not find the requested resource/],
  ["a namespace that is not there", "/api/v1/namespaces/nons/services", service({}), 404, /^namespaces "nons" not found$/],
  [
    "another namespace than the path's",
    SERVICES,
    { ...service({}), metadata: { name: "web", namespace: "other" } },
    400,
    /^the namespace of the provided object does not match the namespace sent on the request$/,
  ],
  [
    "a resourceVersion on creation",
    SERVICES,
    { ...service({}), metadata: { name: "web", resourceVersion: "5" } },
    400,
    /^resourceVersion should not be set on objects to be created$/,
  ],
  ["metadata that is a list", SERVICES, { metadata: [] }, 400, /metadata must be an object/],
  ["a list instead of an object", SERVICES, "[]", 400, /must be a Service as a JSON object/],
  ["nothing", SERVICES, "", 400, /must be a Service as a JSON object/],
  ["half of a JSON text", SERVICES, '{"metadata":', 400, /is not valid JSON/],
  ["a prototype", SERVICES, '{"metadata":{"name":"web"},"spec":{"__proto__":{"x":1}}}', 400, /__proto__/],
  ["a depth bomb", SERVICES, `{"spec":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, 400, /nested deeper than 100 levels/],
  ["an object of more than 1 MiB", SERVICES, service({ filler: "x".repeat(1_100_000) }), 413, /limit is 1048576/],
  ["a body of more than 3 MiB", SERVICES, `{"spec":"${"x".repeat(3 * 1024 * 1024)}"}`, 413, /limit is 3145728/],
  [
    "annotations of more than 256 KiB",
    SERVICES,
    { ...service({}), metadata: { name: "web", annotations: { a: "x".repeat(300_000) } } },
    422,
    /metadata\.annotations.*262144 bytes/,
  ],
])("%s is refused with its field, and changes nothing", async ([, path, body, status, said]) => {
  const { send, store } = await startApi();
  expect((await send({ method: "POST", path: SERVICES, body: service({ clusterIP: "10.96.0.77" }, "first") })).status).toBe(201);
  const before = store.revision;
  const { json, text } = await send({ method: "POST", path, body });
  expect([json.code, json.message]).toEqual([status, expect.stringMatching(said)]);
  expect(json).toMatchObject({ kind: "Status", apiVersion: "v1", status: "Failure" });
  expect(text).not.toMatch(/\.ts:|node_modules|SQLITE/);
  expect(store.revision).toBe(before);
});

test("all faults of an object are told at once, with causes as Kubernetes has them", async () => {
  const { send } = await startApi();
  const { json } = await send({ method: "POST", path: SERVICES, body: service({ ports: [{ port: 0 }] }, "Bad_Name") });
  expect(json).toMatchObject({
    code: 422,
    reason: "Invalid",
    message: expect.stringMatching(
      /^Service "Bad_Name" is invalid: \[metadata\.name: Invalid value: .*, spec\.ports\[0\]\.port: Invalid value: 0/,
    ) as string,
    details: {
      name: "Bad_Name",
      kind: "Service",
      causes: [
        { reason: "FieldValueInvalid", field: "metadata.name" },
        { reason: "FieldValueInvalid", field: "spec.ports[0].port" },
      ],
    },
  });
});

test("the name in the body must be the one in the path", async () => {
  const { send } = await startApi();
  const { json } = await send({ method: "PUT", path: `${SERVICES}/web`, body: service({}, "zz") });
  expect([json.code, json.message]).toEqual([400, "the name of the object (zz) does not match the name on the URL (web)"]);
  await send({ method: "POST", path: SERVICES, body: service({}) });
  const headers = { "content-type": "application/merge-patch+json" };
  const patched = await send({ method: "PATCH", path: `${SERVICES}/web`, body: { metadata: { name: "zz" } }, headers });
  expect(patched.json.code).toBe(400);
});

test("a name with a slash in the path is a name, not a path", async () => {
  const { send } = await startApi();
  expect((await send({ path: `${SERVICES}/..%2F..%2Fnodes` })).json.message).toBe('services "../../nodes" not found');
  expect((await send({ path: `${SERVICES}/${"a".repeat(253)}` })).status).toBe(404);
  expect((await send({ path: `${SERVICES}/%E0%A4%A` })).json).toMatchObject({ kind: "Status", code: 400 });
});

test("duplicate keys do no harm: the last counts", async () => {
  const { send } = await startApi();
  const { json } = await send({
    method: "POST",
    path: SERVICES,
    body: '{"metadata":{"name":"a","name":"web"},"spec":{"ports":[{"port":80}]}}',
  });
  expect(json.metadata["name"]).toBe("web");
});
