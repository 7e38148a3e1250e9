import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { isLeftOut, type Row } from "#test/kube/kubectl.ts";
import { kubectlFleet } from "./kubectl-fleet.ts";

/** An unmodified kubectl and objects of every kind that one can write: made, read in every form, written back, told about, gone. */

const fleet = kubectlFleet(() => ({
  ...Object.fromEntries(MADE.map(({ file, text }) => [file, text])),
  "many.yaml": MANY,
  "ssa.yaml": SSA,
}));

interface Made {
  readonly file: string;
  /** As kubectl says it when it makes the object, and as it takes it. */
  readonly what: string;
  readonly kind: string;
  readonly text: string;
}

/** One of each kind that one can write. */
const MADE: readonly Made[] = [
  made("namespace/made", "Namespace", "apiVersion: v1\nkind: Namespace\nmetadata: { name: made }"),
  made(
    "node/made",
    "Node",
    "apiVersion: v1\nkind: Node\nmetadata: { name: made }\nstatus: { addresses: [{ type: InternalIP, address: 192.168.56.99 }] }",
  ),
  made(
    "service/made",
    "Service",
    "apiVersion: v1\nkind: Service\nmetadata: { name: made }\nspec: { selector: { app: made }, ports: [{ port: 80 }] }",
  ),
  made(
    "endpointslice.discovery.k8s.io/made",
    "EndpointSlice",
    `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: made, labels: { kubernetes.io/service-name: none } }
addressType: IPv4
ports: [{ name: http, port: 80 }]
endpoints: [{ addresses: [192.0.2.1] }]`,
  ),
  made(
    "workload.fairlead.dev/made",
    "Workload",
    "apiVersion: fairlead.dev/v1\nkind: Workload\nmetadata: { name: made, labels: { app: made } }\nspec: { node: vm-1, ports: [{ port: 8080 }] }",
  ),
  made(
    "event/made",
    "Event",
    `apiVersion: v1
kind: Event
metadata: { name: made, namespace: default }
involvedObject: { apiVersion: v1, kind: Service, name: made, namespace: default }
reason: Made
message: somebody made it
lastTimestamp: "2026-01-01T00:00:00Z"
source: { component: tester }`,
  ),
  made(
    "event.events.k8s.io/newer",
    "Event",
    `apiVersion: events.k8s.io/v1
kind: Event
metadata: { name: newer, namespace: default }
regarding: { kind: Service, name: made, namespace: default }
eventTime: "2026-01-01T00:00:00.000123Z"
reportingController: example.com/tester
reportingInstance: tester-1
action: Testing
reason: Tested
type: Normal`,
  ),
];

function made(what: string, kind: string, text: string): Made {
  return { file: `${what.replace("/", "-")}.yaml`, what, kind, text: `${text}\n` };
}

const MANY = [1, 2, 3, 4, 5]
  .map((n) => `apiVersion: v1\nkind: Service\nmetadata: { name: many-${n}, labels: { many: "yes" } }\nspec: { ports: [{ port: 80 }] }\n`)
  .join("---\n");
const SSA = "apiVersion: v1\nkind: Service\nmetadata: { name: ssa }\nspec: { ports: [{ port: 80 }] }\n";

test.skipIf(isLeftOut)("one object of every kind is made, and read as JSON that says what was written", { timeout: 60_000 }, async () => {
  const rows = MADE.flatMap(({ file, what, kind }): Row[] => [
    { run: `create -f ${file}`, out: `${what} created`, err: /^$/ },
    {
      run: `get ${what} -o json`,
      out: (text) => {
        const object = JSON.parse(text) as { kind: string; metadata: { name: string; uid: string } };
        return object.kind === kind && what.endsWith(`/${object.metadata.name}`) && object.metadata.uid.length === 36;
      },
    },
  ]);
  expect(await fleet.kubectl.wrongOf(rows)).toEqual([]);
  const list = JSON.parse((await fleet.kubectl.run("get svc,wl,endpointslices made -o json")).stdout) as {
    kind: string;
    items: { kind: string }[];
  };
  expect([list.kind, list.items.map(({ kind }) => kind)]).toEqual(["List", ["Service", "Workload", "EndpointSlice"]]);
});

test.skipIf(isLeftOut)("what get -o yaml writes is taken back as it stands, and changes nothing", { timeout: 60_000 }, async () => {
  // Of Nodes the one that sends heartbeats, which are no writes; of the other the server finds after a while that it is lost.
  expect((await fleet.kubectl.run("wait --for=condition=Ready node/vm-1 --timeout=10s")).exitCode).toBe(0);
  const others = MADE.map(({ what }) => what).filter((what) => what !== "node/made" && !what.startsWith("event.events"));
  for (const what of [...others, "node/vm-1"]) {
    const before = (await fleet.kubectl.run(`get ${what} -o yaml --show-managed-fields`)).stdout;
    await writeFile(join(fleet.kubectl.home, "back.yaml"), before);
    const { stdout, stderr } = await fleet.kubectl.run("replace -f back.yaml");
    expect([stdout, stderr]).toEqual([`${what} replaced`, ""]);
    expect((await fleet.kubectl.run(`get ${what} -o yaml --show-managed-fields`)).stdout).toBe(before);
  }
});

const LIST = JSON.stringify({
  apiVersion: "v1",
  kind: "List",
  items: ["listed-1", "listed-2"].map((name) => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { ports: [{ port: 80 }] },
  })),
});
const WITH_UNKNOWN = `apiVersion: v1
kind: Namespace
metadata: { name: beside }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: strange }
`;

test.skipIf(isLeftOut)("a List is taken as its items, and a kind that no server has is called that", { timeout: 60_000 }, async () => {
  await writeFile(join(fleet.kubectl.home, "list.json"), LIST);
  await writeFile(join(fleet.kubectl.home, "unknown-field.json"), LIST.replace('"spec":{', '"spec":{"colour":"red",'));
  await writeFile(join(fleet.kubectl.home, "with-unknown.yaml"), WITH_UNKNOWN);
  const both = (verb: string): RegExp => new RegExp(`^service/listed-1 ${verb}\nservice/listed-2 ${verb}$`);
  const noKind = /no matches for kind "Deployment" in version "apps\/v1"/;
  const rows: readonly Row[] = [
    { run: "create -f list.json", out: both("created") },
    { run: "replace -f list.json", out: both("replaced") },
    { run: "apply --server-side --force-conflicts -f list.json", out: both("serverside-applied") },
    { run: "apply -f unknown-field.json", code: 1, err: /unknown field "spec\.colour"/ },
    { run: "delete -f list.json", out: /listed-1" deleted/ },
    { run: "apply -f list.json", out: both("created") },
    { run: "apply --dry-run=server -f list.json", out: both("unchanged (server dry run)".replaceAll(/[()]/g, "\\$&")) },
    { run: "apply -f with-unknown.yaml", code: 1, out: "namespace/beside created", err: noKind },
    { run: "create -f with-unknown.yaml --dry-run=server", code: 1, err: noKind },
  ];
  expect(await fleet.kubectl.wrongOf(rows)).toEqual([]);
  const { stdout } = await fleet.kubectl.run("get services -l none!=such -o yaml");
  await writeFile(join(fleet.kubectl.home, "all.yaml"), stdout);
  expect(await fleet.kubectl.wrongOf([{ run: "replace -f all.yaml", out: /service\/listed-2 replaced/ }])).toEqual([]);
});

const session: readonly Row[] = [
  // apply, of what was made otherwise
  {
    run: "apply -f service-made.yaml",
    out: "service/made configured",
    err: /^Warning: resource services\/made is missing the kubectl\.kubernetes\.io\/last-applied-configuration/,
  },
  { run: "apply -f service-made.yaml", out: "service/made unchanged", err: /^$/ },
  { run: "diff -f service-made.yaml", code: 0, out: "" },
  // pages
  { run: "create -f many.yaml", out: /many-5 created$/ },
  { run: "get svc -l many=yes --chunk-size=2 -o name", out: [1, 2, 3, 4, 5].map((n) => `service/many-${n}`).join("\n") },
  { run: "get svc -l many=yes --chunk-size=2 -v=6", out: /many-1 [^]*many-5 /, err: /limit=2[^]*continue=[^]*limit=2[^]*continue=/ },
  { run: "delete svc many-1 --cascade=background", out: 'service "many-1" deleted' },
  { run: "delete svc -l many=yes --cascade=background", out: /many-2[^]*many-5" deleted$/ },
  { run: "get svc -l many=yes -o name", out: "" },
  // what happened
  { run: "get events", out: /^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n[^]*Normal +NodeReady +node\/vm-1 +the host sends heartbeats$/m },
  { run: "events", out: /^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE\n[^]*Normal +NodeReady +Node\/vm-1 +the host sends heartbeats$/m },
  { run: "events --for node/vm-1", out: /^LAST SEEN.*\n[^]*Normal +NodeReady +Node\/vm-1 +the host sends heartbeats$/m },
  { run: "events --for svc/made --types=Normal", out: /Made +Service\/made +somebody made it/ },
  { run: "get events --field-selector reason=Made", out: /^LAST SEEN.*\n\S+ +Normal +Made +service\/made +somebody made it$/ },
  { run: "get events.events.k8s.io --field-selector reportingController=example.com/tester -o name", out: "event.events.k8s.io/newer" },
  {
    run: "describe node vm-1",
    out: /Events:\n +Type +Reason +Age +From +Message\n.*\n +Normal +NodeReady +\S+ +fairlead-server +the host sends heartbeats$/m,
  },
  { run: "describe event made", out: /Involved Object:\n(.*\n)*? +Name: +made\n[^]*Message: +somebody made it/ },
  {
    run: "describe endpointslice made",
    out: /AddressType: +IPv4\nPorts:\n.*\n.*\n +http +80 +TCP\nEndpoints:\n +- Addresses: +192\.0\.2\.1\n/,
  },
  { run: "describe endpointslices -l kubernetes.io/service-name=made", out: /TargetRef: +Workload\/made\n +NodeName: +vm-1/ },
];

test.skipIf(isLeftOut)("pages, deletions and events are as with Kubernetes", { timeout: 60_000 }, async () => {
  expect(await fleet.kubectl.wrongOf(session)).toEqual([]);
});

test.skipIf(isLeftOut)("describe shows what happened to that very object", { timeout: 60_000 }, async () => {
  const uid = (await fleet.kubectl.run("get svc made -o jsonpath={.metadata.uid}")).stdout;
  const event = (MADE.find(({ what }) => what === "event/made")?.text ?? "").replace("name: made,", "name: told,");
  await writeFile(join(fleet.kubectl.home, "told.yaml"), event.replace("kind: Service,", `kind: Service, uid: ${uid},`));
  const rows: readonly Row[] = [
    { run: "create -f told.yaml", out: "event/told created" },
    { run: "describe svc made", out: /Events:\n +Type +Reason[^]*Normal +Made +\S+ +tester +somebody made it$/ },
  ];
  expect(await fleet.kubectl.wrongOf(rows)).toEqual([]);
});

test.skipIf(isLeftOut)("applied twice, server-side, an object keeps its resourceVersion", { timeout: 60_000 }, async () => {
  const revisions = new Set<string>();
  for (let i = 0; i < 3; i++) {
    expect((await fleet.kubectl.run("apply --server-side -f ssa.yaml")).stdout).toBe("service/ssa serverside-applied");
    revisions.add((await fleet.kubectl.run("get svc ssa -o jsonpath={.metadata.resourceVersion}")).stdout);
  }
  expect(revisions.size).toBe(1);
});

test.skipIf(isLeftOut)("a host's credential is told who it is and what it may do", { timeout: 60_000 }, async () => {
  const as = `--token=${fleet.host.token}`;
  const rows: readonly Row[] = [
    { run: `auth whoami ${as} -o jsonpath={.status.userInfo.username}`, out: "system:node:vm-1" },
    { run: `auth can-i list services ${as}`, out: "yes" },
    { run: `auth can-i delete services ${as}`, code: 1, out: /^no/ },
    { run: `auth can-i patch events.events.k8s.io ${as}`, out: "yes" },
    {
      run: `auth can-i --list ${as}`,
      out: (text) =>
        /^endpoints +\[\] +\[\] +\[get list watch\]$/m.test(text) &&
        /^events\.events\.k8s\.io +\[\] +\[\] +\[get list watch create patch\]$/m.test(text),
    },
    { run: `auth can-i create endpoints ${as}`, code: 1, out: /^no/ },
    {
      run: `delete svc made ${as}`,
      code: 1,
      err: /User "system:node:vm-1" cannot delete resource "services" in API group "" in the namespace "default"/,
    },
  ];
  expect(await fleet.kubectl.wrongOf(rows)).toEqual([]);
});
