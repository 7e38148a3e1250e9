import { describe, expect, test } from "vitest";
import { AppError, fromStatus, toStatus } from "./error.ts";
import { kindByGvk, kindByName, pathOf, type KindName } from "./kinds.ts";
import { durationMs } from "./meta.ts";
import { formatJoinToken, parseJoinToken } from "./join-token.ts";
import { parseObject } from "./parse.ts";

const service = (spec: object, name = "web"): object => ({ apiVersion: "v1", kind: "Service", metadata: { name }, spec });
const workload = (spec: object, name = "web-1"): object => ({
  apiVersion: "fairlead.dev/v1",
  kind: "Workload",
  metadata: { name },
  spec: { node: "vm-1", ...spec },
});
const slice = (address: string, addressType = "IPv4"): object => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: "web-a" },
  addressType,
  endpoints: [{ addresses: [address] }],
});

function faultsOf(kind: KindName, input: unknown): string[] {
  try {
    parseObject(kind, input);
    return [];
  } catch (error) {
    return error instanceof AppError ? error.causes.map(({ field, message }) => `${field}: ${message}`) : [String(error)];
  }
}

describe("a fault names the field, what stands there and what would be right", () => {
  const port = { port: 80 };
  test.for<[string, KindName, object, RegExp]>([
    [
      "shell metacharacters in a name",
      "Service",
      service({ ports: [port] }, "web;reboot"),
      /^metadata\.name: Invalid value: "web;reboot": must be/,
    ],
    ["a name of 64 characters", "Service", service({ ports: [port] }, "a".repeat(64)), /^metadata\.name: .*1 to 63/],
    ["a name in another script", "Service", service({ ports: [port] }, "wéb"), /^metadata\.name/],
    ["a name with a line feed", "Service", service({ ports: [port] }, "web\n-A INPUT"), /^metadata\.name/],
    [
      "port 0",
      "Service",
      service({ ports: [{ port: 0 }] }),
      /^spec\.ports\[0\]\.port: Invalid value: 0: must be between 1 and 65535, inclusive$/,
    ],
    ["port 65536", "Service", service({ ports: [{ port: 65536 }] }), /^spec\.ports\[0\]\.port: Invalid value: 65536: must be between/],
    [
      "a port with a fraction",
      "Service",
      service({ ports: [{ port: 80.5 }] }),
      /^spec\.ports\[0\]\.port: Invalid value: 80.5: must be a whole number/,
    ],
    ["a port as text", "Service", service({ ports: [{ port: "80" }] }), /^spec\.ports\[0\]\.port: Invalid value: "80": must be/],
    [
      "duplicate port names",
      "Service",
      service({
        ports: [
          { name: "a", port: 1 },
          { name: "a", port: 2 },
        ],
      }),
      /^spec\.ports\[1\]\.name: Duplicate value/,
    ],
    [
      "several ports without names",
      "Service",
      service({ ports: [{ port: 1 }, { port: 2, name: "b" }] }),
      /^spec\.ports\[0\]\.name: Required value/,
    ],
    [
      "the same port twice",
      "Service",
      service({
        ports: [
          { name: "a", port: 1 },
          { name: "b", port: 1 },
        ],
      }),
      /^spec\.ports\[1\]: Duplicate value/,
    ],
    ["no ports", "Service", service({}), /^spec\.ports: Required value/],
    [
      "an unknown type",
      "Service",
      service({ type: "Magic", ports: [port] }),
      /^spec\.type: Unsupported value: "Magic": must be one of "ClusterIP"/,
    ],
    [
      "an ExternalName that is two dots too long",
      "Service",
      service({ type: "ExternalName", externalName: "example.com.." }),
      /^spec\.externalName: Invalid value: "example\.com\.\.": must be of a-z/,
    ],
    [
      "an ExternalName that is a dot",
      "Service",
      service({ type: "ExternalName", externalName: "." }),
      /^spec\.externalName: Invalid value/,
    ],
    ["ExternalName without a name", "Service", service({ type: "ExternalName" }), /^spec\.externalName: Required value/],
    ["a misspelt field of ours", "Workload", workload({ adress: "10.0.0.1" }), /^spec\.adress: Forbidden: is not a field/],
    [
      "a loopback address",
      "Workload",
      workload({ address: "127.0.0.1" }),
      /^spec\.address: Invalid value: "127.0.0.1": may not be in the loopback range/,
    ],
    [
      "two kinds of check in one",
      "Workload",
      workload({ ports: [port], checks: [{ tcp: { port: 80 }, http: { port: 80 } }] }),
      /^spec\.checks\[0\]: Invalid value.*exactly one/,
    ],
    [
      "a check of a port that is not there",
      "Workload",
      workload({ ports: [port], checks: [{ http: { port: "web" } }] }),
      /^spec\.checks\[0\]\.http\.port.*no port/,
    ],
    [
      "a tcp check of a port that speaks UDP",
      "Workload",
      workload({ ports: [{ ...port, protocol: "UDP" }], checks: [{ tcp: { port: 80 } }] }),
      /^spec\.checks\[0\]\.tcp\.port: Invalid value: 80: is UDP here, and the check needs a TCP port$/,
    ],
    [
      "an http check of a named port that speaks UDP",
      "Workload",
      workload({ ports: [{ name: "dns", port: 53, protocol: "UDP" }, port], checks: [{ http: { port: "dns" } }] }),
      /^spec\.checks\[0\]\.http\.port: Invalid value: "dns": is UDP here/,
    ],
    [
      "checks that would do nothing else",
      "Workload",
      workload({ ports: [port], checks: [{ tcp: { port: 80 }, interval: "99ms" }] }),
      /^spec\.checks\[0\]\.interval: Invalid value: "99ms": must be 100ms or more$/,
    ],
    [
      "a check that nothing can pass",
      "Workload",
      workload({ ports: [port], checks: [{ tcp: { port: 80 }, timeout: "1ms" }] }),
      /^spec\.checks\[0\]\.timeout: Invalid value: "1ms": must be 10ms or more$/,
    ],
    ["a time without a unit", "Workload", workload({ ttl: "30" }), /^spec\.ttl: Invalid value: "30": must be a duration/],
    ["a link-local endpoint", "EndpointSlice", slice("169.254.169.254"), /^endpoints\[0\]\.addresses\[0\]: Invalid value.*link-local/],
    ["a multicast endpoint", "EndpointSlice", slice("224.0.0.5"), /^endpoints\[0\]\.addresses\[0\].*multicast/],
    [
      "an address of the other family",
      "EndpointSlice",
      slice("10.0.0.1", "IPv6"),
      /^endpoints\[0\]\.addresses\[0\].*IPv6 address, as addressType says/,
    ],
  ])("%s", ([, kind, input, wanted]) => {
    expect(faultsOf(kind, input)).toEqual([expect.stringMatching(wanted)]);
  });

  test("all faults are told at once", () => {
    const faults = faultsOf("Service", service({ type: "X", ports: [{ port: 0 }, { port: 70_000 }] }, "UP"));
    expect(faults.map((text) => text.split(":")[0])).toEqual([
      "metadata.name",
      "spec.type",
      "spec.ports[0].port",
      "spec.ports[1].port",
      "spec.ports[0].name",
      "spec.ports[1].name",
    ]);
  });

  test("of a value of another type nothing more is said", () => {
    expect(faultsOf("Service", service({ ports: [port], ipFamilies: "IPv4", externalIPs: 1 }))).toEqual([
      'spec.ipFamilies: Invalid value: "IPv4": must be a list',
      "spec.externalIPs: Invalid value: 1: must be a list",
    ]);
  });

  test("rules are told together with faults of the form, but none that only follows from these", () => {
    const ports = [{ port: 80, name: "a" }, { port: 443, name: "a" }, { port: 80, name: "b", protocol: "ICMP" }, { port: "x" }]; // prettier-ignore
    expect(faultsOf("Workload", workload({ ports, checks: [{ tcp: { port: 7 } }], weight: -1 }))).toEqual([
      expect.stringMatching(/^spec\.ports\[2\]\.protocol: Unsupported value: "ICMP"/),
      expect.stringMatching(/^spec\.ports\[3\]\.port: Invalid value: "x"/),
      expect.stringMatching(/^spec\.weight: Invalid value: -1/),
      expect.stringMatching(/^spec\.ports\[1\]\.name: Duplicate value: "a"/),
      expect.stringMatching(/^spec\.checks\[0\]\.tcp\.port: Invalid value: 7: no port of this workload/),
    ]);
    expect(faultsOf("EndpointSlice", { ...slice("10.0.0.1", "IPv6"), ports: [{ port: 0 }] })).toHaveLength(2);
    expect(faultsOf("Service", service({ type: "ExternalName", externalName: 5 }))).toHaveLength(1);
  });
});

test("a Kubernetes field that means nothing here is kept", () => {
  const kept = parseObject("Service", service({ ports: [{ port: 80, future: 1 }], unheardOf: { a: 1 } }));
  expect(kept.spec).toMatchObject({ unheardOf: { a: 1 }, ports: [{ port: 80, protocol: "TCP", future: 1 }] });
});

test("a check finds its TCP port beside a UDP port of the same number", () => {
  const ports = [
    { port: 53, protocol: "UDP" },
    { port: 53, protocol: "TCP" },
  ];
  expect(faultsOf("Workload", workload({ ports, checks: [{ tcp: { port: 53 } }] }))).toEqual([]);
});

test("an ExternalName may end with the root's dot, and stays as it was written", () => {
  for (const externalName of ["db.example.com.", "db.example.com"])
    expect(faultsOf("Service", service({ type: "ExternalName", externalName }))).toEqual([]);
});

test("__proto__ in a manifest changes no prototype", () => {
  parseObject(
    "Service",
    JSON.parse(
      '{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80}],"__proto__":{"polluted":true}}}',
    ),
  );
  expect({}).not.toHaveProperty("polluted");
});

test.for<[string, number]>([
  ["5s", 5000],
  ["500ms", 500],
  ["1m30s", 90_000],
  ["2h", 7_200_000],
])("%s is %i ms", ([text, ms]) => {
  expect(durationMs(text)).toBe(ms);
});

test("kinds are found by every name a user writes, and have Kubernetes' paths", () => {
  expect(["svc", "services", "Service", "service", "services.v1"].map(kindByName)).toEqual(Array(5).fill("Service"));
  expect(kindByName("pods")).toBeUndefined();
  expect(kindByGvk("discovery.k8s.io/v1", "EndpointSlice")).toBe("EndpointSlice");
  expect(kindByGvk("v1", "EndpointSlice")).toBeUndefined();
  expect(pathOf("Workload", { namespace: "default", name: "web-1", subresource: "status" })).toBe(
    "/apis/fairlead.dev/v1/namespaces/default/workloads/web-1/status",
  );
  expect(pathOf("Node", { name: "../x" })).toBe("/api/v1/nodes/..%2Fx");
});

test("an error survives the way over the wire", () => {
  const error = new AppError("Conflict", "taken", {
    hint: "wait",
    causes: [{ field: "a", reason: "FieldValueInvalid", message: "b" }],
    subject: { kind: "services", name: "web" },
  });
  const back = fromStatus(409, JSON.parse(JSON.stringify(toStatus(error))));
  expect(back).toMatchObject({
    code: "Conflict",
    message: "taken",
    hint: "wait",
    causes: error.causes,
    subject: { kind: "services", name: "web" },
  });
  expect(fromStatus(502, "<html>")).toMatchObject({ code: "InternalError", message: "the server answered HTTP 502" });
});

test("a join token is read back, and a wrong one is refused without being shown", () => {
  const token = { id: "abcd1234", secret: "s".repeat(43), caFingerprint: "0a".repeat(32) };
  expect(parseJoinToken(`${formatJoinToken(token)}\n`)).toEqual(token);
  expect(() => parseJoinToken("fl1.secretsecret")).toThrow(/^this is not a join token$/);
});

test("of a hundred thousand faults the first hundred are told, and how many more there are", () => {
  const labels = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`/${i}`, "x"]));
  const parse = (): unknown => parseObject("Namespace", { apiVersion: "v1", kind: "Namespace", metadata: { name: "a", labels } });
  expect(parse).toThrow(expect.toSatisfy((error: unknown) => error instanceof AppError && error.causes.length === 101));
  expect(parse).toThrow(/there are 99900 more faults\]$/);
});
