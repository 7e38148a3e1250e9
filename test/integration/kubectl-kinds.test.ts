import { afterAll, beforeAll, expect, test } from "vitest";
import { isLeftOut, openKubectl, type Kubectl, type Row } from "#test/kube/kubectl.ts";
import { startServer, type TestServer } from "./cli-server.ts";

/** An unmodified kubectl and the kinds that follow from others: Pods, Events by their newer names, the ServiceCIDR. */

let server: TestServer;
let kubectl: Kubectl;
beforeAll(async () => {
  if (isLeftOut) return;
  server = await startServer();
  kubectl = await openKubectl(server.kubeconfig, FILES);
});
afterAll(async () => {
  if (isLeftOut) return;
  await server.close();
  await kubectl.close();
});

const FILES: Readonly<Record<string, string>> = {
  "event.yaml": `apiVersion: events.k8s.io/v1
kind: Event
metadata: { name: newer, namespace: default }
regarding: { kind: Service, name: web, namespace: default }
eventTime: "2026-01-01T00:00:00.000123Z"
reportingController: example.com/tester
reportingInstance: tester-1
action: Testing
reason: Tested
note: all is well
type: Normal
`,
};

const explained: readonly Row[] = [
  { run: "explain pod", out: /VERSION: +v1\n[^]*A Workload, to be read as a Pod/ },
  { run: "explain pod.status.podIPs.ip", out: /FIELD: ip <string>[^]*The address/ },
  { run: "explain servicecidr", out: /GROUP: +networking\.k8s\.io\nKIND: +ServiceCIDR\nVERSION: +v1\n[^]*ranges that Services get/ },
  { run: "explain servicecidr.spec.cidrs", out: /FIELD: cidrs <\[\]string>[^]*one of each family/ },
  // kubectl itself finds core/v1 first, so one has to say which.
  {
    run: "explain events --api-version=events.k8s.io/v1",
    out: /GROUP: +events\.k8s\.io\nKIND: +Event\nVERSION: +v1\n[^]*note\t<string>[^]*regarding\t<Object>\n/,
  },
  { run: "explain events.series.count --api-version=events.k8s.io/v1", out: /How often so far/ },
  { run: "explain event", out: /KIND: +Event\nVERSION: +v1\n[^]*involvedObject/ },
];

test.skipIf(isLeftOut)("kinds that follow from others are explained, field by field", { timeout: 60_000 }, async () => {
  expect(await kubectl.wrongOf(explained)).toEqual([]);
});

const events: readonly Row[] = [
  { run: "create -f event.yaml", out: "event.events.k8s.io/newer created", err: /^$/ },
  { run: "create -f event.yaml", code: 1, err: /AlreadyExists/ },
  { run: "get event newer -o jsonpath={.involvedObject.name},{.message}", out: "web,all is well" },
  { run: "get events.events.k8s.io newer -o jsonpath={.regarding.name},{.note}", out: "web,all is well" },
];

test.skipIf(isLeftOut)("an Event is made by its newer names", { timeout: 60_000 }, async () => {
  expect(await kubectl.wrongOf(events)).toEqual([]);
});
