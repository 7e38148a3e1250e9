import { expect, test } from "vitest";
import { EndpointSlice } from "#proto/endpoint-slice.ts";
import { Service } from "#proto/service.ts";
import { createChangeWindow } from "./change-window.ts";
import {
  endpointsForm,
  endpointsOf,
  serviceFactsOf,
  sliceFactsOf,
  type Endpoints,
  type ServiceFacts,
  type SliceFacts,
} from "./endpoints.ts";

interface SliceInput {
  readonly addressType?: "IPv4" | "IPv6";
  readonly labels?: Record<string, string>;
  readonly ports?: readonly object[];
  readonly endpoints: readonly object[];
}

function factsOf({ addressType = "IPv4", labels, ports = [{ name: "http", port: 8080 }], endpoints }: SliceInput): SliceFacts | undefined {
  const metadata = { name: "web-1", namespace: "default", labels };
  return sliceFactsOf(
    EndpointSlice.parse({ apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice", metadata, addressType, ports, endpoints }),
  );
}

function serviceOf(spec: object = { selector: { app: "web" } }, labels?: Record<string, string>): ServiceFacts | undefined {
  const metadata = { name: "web", namespace: "default", uid: "a1", labels };
  return serviceFactsOf(Service.parse({ apiVersion: "v1", kind: "Service", metadata, spec: { ports: [{ port: 80 }], ...spec } }));
}

function endpoints(slices: readonly SliceInput[], service = serviceOf()): Endpoints {
  if (!service) throw new Error("it has none");
  return endpointsOf(
    service,
    slices.map(factsOf).filter((facts) => facts !== undefined),
    7,
  );
}

const at = (address: string, conditions: object = {}): object => ({ addresses: [address], conditions });
const ipsOf = (list: readonly { readonly ip: string }[] | undefined): unknown => list?.map(({ ip }) => ip);
const subsets = (of: Endpoints): unknown =>
  (of.subsets ?? []).map(({ addresses, notReadyAddresses, ports }) => [
    ipsOf(addresses),
    ipsOf(notReadyAddresses),
    ports?.map(({ name, port }) => `${name ?? ""}:${port}`),
  ]);

test("an Endpoints is the Service's slices: who takes connections, who does not, and who is about to go in neither", () => {
  const gone = { ready: false, serving: true, terminating: true };
  const one = { endpoints: [at("10.0.0.2"), at("10.0.0.1", { ready: true }), at("10.0.0.3", { ready: false }), at("10.0.0.4", gone)] };
  expect(subsets(endpoints([one]))).toEqual([[["10.0.0.1", "10.0.0.2"], ["10.0.0.3"], ["http:8080"]]]);
});

test("slices with the same ports are one subset, others have their own", () => {
  const same = [{ endpoints: [at("10.0.0.1")] }, { endpoints: [at("10.0.0.2")] }];
  const other = { ports: [{ name: "http", port: 9090 }], endpoints: [at("10.0.0.3", { ready: false })] };
  expect(subsets(endpoints([...same, other]))).toEqual([
    [["10.0.0.1", "10.0.0.2"], undefined, ["http:8080"]],
    [undefined, ["10.0.0.3"], ["http:9090"]],
  ]);
});

test("only the first family of a service is there, and all of those that somebody wrote", () => {
  const both: SliceInput[] = [{ addressType: "IPv6", endpoints: [at("fd00::1")] }, { endpoints: [at("10.0.0.1")] }];
  const dual = serviceOf({ selector: { app: "web" }, ipFamilies: ["IPv6", "IPv4"], ipFamilyPolicy: "RequireDualStack" });
  expect(subsets(endpoints(both, dual))).toEqual([[["fd00::1"], undefined, ["http:8080"]]]);
  expect(subsets(endpoints(both, serviceOf({})))).toEqual([[["10.0.0.1", "fd00::1"], undefined, ["http:8080"]]]);
});

test("what an Endpoints cannot say is left out: addresses that only their own host reaches, ports without a number", () => {
  expect(subsets(endpoints([{ labels: { "fairlead.dev/reach": "Node" }, endpoints: [at("172.17.0.2")] }]))).toEqual([]);
  expect(subsets(endpoints([{ ports: [{ name: "any" }], endpoints: [at("10.0.0.1")] }]))).toEqual([[["10.0.0.1"], undefined, undefined]]);
});

test("name, age and labels are the Service's, the uid is its own; an ExternalName has none", () => {
  const { metadata } = endpoints([], serviceOf({ selector: { app: "web" }, clusterIP: "None" }, { tier: "front" }));
  expect(metadata).toEqual({
    name: "web",
    namespace: "default",
    uid: "e1",
    resourceVersion: "7",
    labels: { tier: "front", "service.kubernetes.io/headless": "" },
  });
  expect(serviceOf({ type: "ExternalName", externalName: "example.com" })).toBeUndefined();
});

test("there are 1000 addresses at most, those that are ready first", () => {
  const many = (from: number, ready: boolean): SliceInput => ({
    endpoints: Array.from({ length: 600 }, (_, i) => at(`10.0.${from + Math.floor(i / 250)}.${(i % 250) + 1}`, { ready })),
  });
  const whole = endpoints([many(0, false), many(8, true)]);
  expect(whole.metadata.annotations).toEqual({ "endpoints.kubernetes.io/over-capacity": "truncated" });
  expect([whole.subsets?.[0]?.addresses?.length, whole.subsets?.[0]?.notReadyAddresses?.length]).toEqual([600, 400]);
});

test.for<[string, readonly SliceInput[]]>([
  ["<none>", []],
  ["10.0.0.1:8080", [{ endpoints: [at("10.0.0.1"), at("10.0.0.9", { ready: false })] }]],
  ["", [{ endpoints: [at("10.0.0.9", { ready: false })] }]],
  ["10.0.0.1", [{ ports: [], endpoints: [at("10.0.0.1")] }]],
  ["[fd00::1]:8080", [{ addressType: "IPv6", endpoints: [at("fd00::1")] }]],
  [
    "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...",
    [
      {
        ports: [
          { name: "a", port: 80 },
          { name: "b", port: 81 },
        ],
        endpoints: [at("10.0.0.1"), at("10.0.0.2")],
      },
    ],
  ],
])("its column says %s", ([text, slices]) => {
  const cell = endpointsForm.columns[1]?.cell(endpoints(slices, serviceOf({})), 0);
  expect(cell).toBe(text);
});

test("a window of changes forgets the oldest, by number and by cost, and says up to where", () => {
  const window = createChangeWindow<{ readonly revision: number }>({ changes: 4, cost: 100 });
  for (let revision = 1; revision <= 5; revision++) window.push({ revision }, 1);
  expect([window.after(0, 9).length, window.droppedRevision]).toEqual([5, 0]);
  window.push({ revision: 6 }, 1);
  expect([window.after(2, 9), window.droppedRevision]).toEqual([[3, 4, 5, 6].map((revision) => ({ revision })), 2]);
  expect(window.after(4, 1)).toEqual([{ revision: 5 }]);
  window.push({ revision: 7 }, 150);
  expect([window.after(7, 9), window.droppedRevision]).toEqual([[], 7]);
});
