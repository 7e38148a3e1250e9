import { expect, test } from "vitest";
import { isLeftOut, type Row } from "#test/kube/kubectl.ts";
import { kubectlFleet } from "./kubectl-fleet.ts";

/** An unmodified kubectl and the kinds that follow from others: Pods, Endpoints, Events by their newer names, the ServiceCIDR. */

const fleet = kubectlFleet(() => FILES);

const FILES: Readonly<Record<string, string>> = {
  "web.yaml": `apiVersion: v1
kind: Service
metadata: { name: web, labels: { tier: front } }
spec: { selector: { app: web }, ports: [{ name: http, port: 80, targetPort: http }] }
---
apiVersion: v1
kind: Service
metadata: { name: idle }
spec: { selector: { app: nobody }, ports: [{ port: 80 }] }
---
apiVersion: fairlead.dev/v1
kind: Workload
metadata: { name: web-1, labels: { app: web } }
spec: { node: vm-1, ports: [{ name: http, port: 8080 }] }
`,
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
  expect(await fleet.kubectl.wrongOf(explained)).toEqual([]);
});

const events: readonly Row[] = [
  { run: "create -f event.yaml", out: "event.events.k8s.io/newer created", err: /^$/ },
  { run: "create -f event.yaml", code: 1, err: /AlreadyExists/ },
  { run: "get event newer -o jsonpath={.involvedObject.name},{.message}", out: "web,all is well" },
  { run: "apply -f event.yaml", out: "event.events.k8s.io/newer configured", err: /^Warning: .*last-applied-configuration/ },
  { run: "apply -f event.yaml", out: "event.events.k8s.io/newer unchanged" },
  { run: "label event.events.k8s.io newer a=b", out: "event.events.k8s.io/newer labeled" },
  { run: "delete -f event.yaml --dry-run=server", out: 'event.events.k8s.io "newer" deleted (server dry run)' },
  { run: "get events.events.k8s.io newer -o jsonpath={.regarding.name},{.note}", out: "web,all is well" },
  { run: "delete -f event.yaml", out: 'event.events.k8s.io "newer" deleted' },
  { run: "get event newer", code: 1, err: /events "newer" not found/ },
];

test.skipIf(isLeftOut)("an Event is made, changed and deleted by its newer names", { timeout: 60_000 }, async () => {
  expect(await fleet.kubectl.wrongOf(events)).toEqual([]);
});

const AGE = String.raw`\d+s`;
const endpoints: readonly Row[] = [
  { run: "apply -f web.yaml", out: /service\/web created/ },
  {
    run: "wait --for=jsonpath={.subsets[0].addresses[0].ip}=192.168.56.11 endpoints/web --timeout=10s",
    out: "endpoints/web condition met",
  },
  {
    run: "get endpoints",
    out: new RegExp(String.raw`^NAME +ENDPOINTS +AGE\nidle +<none> +${AGE}\nweb +192\.168\.56\.11:8080 +${AGE}$`),
  },
  { run: "get ep -l tier=front -o name", out: "endpoints/web" },
  { run: "get ep web -o jsonpath={.subsets[0].addresses[0].nodeName},{.subsets[0].ports[0].name}", out: "vm-1,http" },
  { run: "describe endpoints web", out: /Addresses: +192\.168\.56\.11[^]*http +8080 +TCP/ },
  { run: "explain ep.subsets.notReadyAddresses.ip", out: /FIELD: ip <string>/ },
  { run: "get ep nope", code: 1, err: /^Error from server \(NotFound\): endpoints "nope" not found$/ },
  { run: "delete ep web", code: 1, err: /\(MethodNotAllowed\)/ },
];

test.skipIf(isLeftOut)("Endpoints are there for tools that know no EndpointSlices", { timeout: 60_000 }, async () => {
  expect(await fleet.kubectl.wrongOf(endpoints)).toEqual([]);
});

const cidrs: readonly Row[] = [
  { run: "get servicecidr kubernetes -o jsonpath={.apiVersion}", out: "networking.k8s.io/v1" },
  { run: "describe servicecidr kubernetes", out: /^Name: +kubernetes\n[^]*CIDRs: +10\.222\.0\.0\/16\n[^]*Ready +True/ },
  { run: "describe servicecidrs", out: /^Name: +kubernetes/ },
];

test.skipIf(isLeftOut)("the ServiceCIDR is described", { timeout: 60_000 }, async () => {
  expect(await fleet.kubectl.wrongOf(cidrs)).toEqual([]);
});
