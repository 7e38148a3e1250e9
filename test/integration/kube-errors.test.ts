import { expect, test } from "vitest";
import { aService } from "./fleet-server.ts";
import { startApi, type AnyJson, type RawAnswer, type RawCall } from "./api-server.ts";

/** Errors as Kubernetes words them (recorded from 1.36): what kubectl prints to people, and what programs match. */

const SERVICES = "/api/v1/namespaces/default/services";
const WEB = `${SERVICES}/web`;
const MERGE = { "content-type": "application/merge-patch+json" };
const body = (name: string, spec: object = {}, metadata: object = {}) => ({ ...aService(name, spec), metadata: { name, ...metadata } });

interface Row {
  readonly what: string;
  readonly call: RawCall;
  /** Whose credential; the administrator's if absent. */
  readonly by?: "node" | "nobody";
  readonly code: number;
  readonly reason: string;
  readonly message: string | RegExp;
  readonly causes?: readonly object[];
}

const rows: readonly Row[] = [
  { what: "no credential", call: { path: WEB }, by: "nobody", code: 401, reason: "Unauthorized", message: "Unauthorized" },
  {
    what: "an object that a host may not delete",
    call: { path: WEB, method: "DELETE" },
    by: "node",
    code: 403,
    reason: "Forbidden",
    message:
      'services "web" is forbidden: User "system:node:vm-1" cannot delete resource "services" in API group "" in the namespace "default"',
  },
  {
    what: "something cluster-wide",
    call: { path: "/api/v1/namespaces", method: "POST", body: {} },
    by: "node",
    code: 403,
    reason: "Forbidden",
    message: 'namespaces is forbidden: User "system:node:vm-1" cannot create resource "namespaces" in API group "" at the cluster scope',
  },
  ...[
    ["user", "impersonate-user", "bob", 'users "bob"', 'resource "users" in API group "" at the cluster scope'],
    ["group", "impersonate-group", "system:masters", 'groups "system:masters"', 'resource "groups" in API group "" at the cluster scope'],
    [
      "uid",
      "impersonate-uid",
      "1",
      'uids.authentication.k8s.io "1"',
      'resource "uids" in API group "authentication.k8s.io" at the cluster scope',
    ],
    [
      "extra",
      "impersonate-extra-scopes",
      "view",
      'userextras.authentication.k8s.io "view"',
      'resource "userextras/scopes" in API group "authentication.k8s.io" at the cluster scope',
    ],
    [
      "service account",
      "impersonate-user",
      "system:serviceaccount:ci:bot",
      'serviceaccounts "bot"',
      'resource "serviceaccounts" in API group "" in the namespace "ci"',
    ],
  ].map(([what = "", header = "", value = "", whom = "", denied = ""]): Row => ({
    what: `to act as another ${what}`,
    call: { path: WEB, headers: { [header]: value } },
    code: 403,
    reason: "Forbidden",
    message: `${whom} is forbidden: User "admin" cannot impersonate ${denied}`,
  })),
  {
    what: "to act as another, of a host",
    call: { path: WEB, headers: { "impersonate-user": "admin" } },
    by: "node",
    code: 403,
    reason: "Forbidden",
    message: 'users "admin" is forbidden: User "system:node:vm-1" cannot impersonate resource "users" in API group "" at the cluster scope',
  },
  { what: "not found", call: { path: `${SERVICES}/nope` }, code: 404, reason: "NotFound", message: 'services "nope" not found' },
  {
    what: "not found, of a group",
    call: { path: "/apis/fairlead.dev/v1/namespaces/default/workloads/w1" },
    code: 404,
    reason: "NotFound",
    message: 'workloads.fairlead.dev "w1" not found',
  },
  {
    what: "no such path",
    call: { path: "/api/v1/configmaps" },
    code: 404,
    reason: "NotFound",
    message: "the server could not find the requested resource",
  },
  {
    what: "no such namespace",
    call: { path: "/api/v1/namespaces/nons/services", method: "POST", body: body("x") },
    code: 404,
    reason: "NotFound",
    message: 'namespaces "nons" not found',
  },
  {
    what: "another method",
    call: { path: "/api/v1/pods", method: "POST", body: {} },
    code: 405,
    reason: "MethodNotAllowed",
    message: "the server does not allow this method on the requested resource",
  },
  {
    what: "an answer in HTML",
    call: { path: WEB, headers: { accept: "text/html" } },
    code: 406,
    reason: "NotAcceptable",
    message: /^only the following media types are accepted: /,
  },
  {
    what: "made twice",
    call: { path: SERVICES, method: "POST", body: body("web") },
    code: 409,
    reason: "AlreadyExists",
    message: 'services "web" already exists',
  },
  {
    what: "a stale PUT",
    call: { path: WEB, method: "PUT", body: body("web", {}, { resourceVersion: "1" }) },
    code: 409,
    reason: "Conflict",
    message:
      'Operation cannot be fulfilled on services "web": the object has been modified; please apply your changes to the latest version and try again',
  },
  {
    what: "a stale PATCH",
    call: { path: WEB, method: "PATCH", headers: MERGE, body: { metadata: { resourceVersion: "1", labels: { a: "b" } } } },
    code: 409,
    reason: "Conflict",
    message: /^Operation cannot be fulfilled on services "web": the object has been modified; /,
  },
  {
    what: "another's uid",
    call: { path: WEB, method: "DELETE", body: { preconditions: { uid: "x" } } },
    code: 409,
    reason: "Conflict",
    message:
      /^Operation cannot be fulfilled on Service "web": the UID in the precondition \(x\) does not match the UID in record \([-0-9a-f]+\)/,
  },
  {
    what: "an old page",
    call: { path: `${SERVICES}?continue=${Buffer.from('{"r":1,"ns":"default","n":"a"}').toString("base64url")}` },
    code: 410,
    reason: "Expired",
    message: "The provided continue parameter is too old to display a consistent list result.",
  },
  {
    what: "a body that is no JSON",
    call: { path: SERVICES, method: "POST", body: "a: b", headers: { "content-type": "text/plain" } },
    code: 415,
    reason: "UnsupportedMediaType",
    message: /^the body of the request was in an unknown format - accepted media types include: .*application\/json/,
  },
  {
    what: "all faults at once",
    call: { path: SERVICES, method: "POST", body: body("Bad_Name", { ports: [{ port: 99_999 }], type: "Wrong" }) },
    code: 422,
    reason: "Invalid",
    message: /^Service "Bad_Name" is invalid: \[/,
    causes: [{ field: "metadata.name" }, { field: "spec.type" }, { field: "spec.ports[0].port" }],
  },
  {
    what: "a virtual IP outside of the range",
    call: { path: SERVICES, method: "POST", body: body("other", { clusterIP: "203.0.113.1" }) },
    code: 422,
    reason: "Invalid",
    message: /the provided network does not match the current range|not in the valid range|10\.96\.0\.0\/16/,
  },
  {
    what: "a virtual IP that changes",
    call: { path: WEB, method: "PATCH", headers: MERGE, body: { spec: { clusterIP: "10.96.7.7", clusterIPs: ["10.96.7.7"] } } },
    code: 422,
    reason: "Invalid",
    message: /may not change once set/,
  },
  {
    what: "an unknown field, strictly",
    call: { path: `${SERVICES}?fieldValidation=Strict`, method: "POST", body: body("typo", { selectr: {} }) },
    code: 400,
    reason: "BadRequest",
    message: 'Service in version "v1" cannot be handled as a Service: strict decoding error: unknown field "spec.selectr"',
  },
  {
    what: "another name than the URL's",
    call: { path: WEB, method: "PUT", body: body("zz") },
    code: 400,
    reason: "BadRequest",
    message: "the name of the object (zz) does not match the name on the URL (web)",
  },
  {
    what: "another namespace than the URL's",
    call: { path: SERVICES, method: "POST", body: body("x", {}, { namespace: "other" }) },
    code: 400,
    reason: "BadRequest",
    message: "the namespace of the provided object does not match the namespace sent on the request",
  },
  {
    what: "a field that cannot be selected by",
    call: { path: `${SERVICES}?fieldSelector=spec.foo%3D1` },
    code: 400,
    reason: "BadRequest",
    message: "field label not supported: spec.foo",
  },
  {
    what: "a label selector that is none",
    call: { path: `${SERVICES}?labelSelector=a%3D%3D%3Db` },
    code: 400,
    reason: "BadRequest",
    message: /^unable to parse requirement: /,
  },
  {
    what: "a list of the future",
    call: { path: `${SERVICES}?resourceVersion=999999` },
    code: 504,
    reason: "Timeout",
    message: /^Timeout: Too large resource version: 999999, current: \d+/,
    causes: [{ reason: "ResourceVersionTooLarge" }],
  },
];

test("every error is a Status in Kubernetes' words, over all rows", async () => {
  const server = await startApi();
  await server.client.create("Service", aService("web"), { namespace: "default" });
  await server.store.compact(server.store.revision - 1);
  const wrong: unknown[] = [];
  for (const row of rows) {
    const bearer = row.by === undefined ? server.tokens.admin : row.by === "node" ? server.tokens.node : null;
    const answer = await server.send({ ...row.call, bearer });
    if (!isAsWanted(answer, row)) wrong.push({ row: row.what, answer: answer.json, status: answer.status });
  }
  expect(wrong).toEqual([]);
});

function isAsWanted({ status, json }: RawAnswer, { code, reason, message, causes = [] }: Row): boolean {
  const said = json as AnyJson & { status: string; apiVersion: string };
  const isSaid = typeof message === "string" ? said.message === message : message.test(said.message ?? "");
  const given: readonly object[] = said.details?.causes ?? [];
  const hasAll = causes.every((cause) =>
    given.some((one) => Object.entries(cause).every(([key, value]) => Object.entries(one).some(([k, v]) => k === key && v === value))),
  );
  return (
    status === code &&
    said.code === code &&
    said.kind === "Status" &&
    said.apiVersion === "v1" &&
    said.status === "Failure" &&
    said.reason === reason &&
    isSaid &&
    hasAll
  );
}
