import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { startApi, type ApiServer, type RawAnswer } from "./api-server.ts";

/** Fields of a Service, one by one: what is taken, what it becomes, and what is refused in which words (kubernetes/pkg/apis/core/validation). */

const SERVICES = "/api/v1/namespaces/default/services";
const BOTH = { cluster: { serviceCidrs: ["10.96.0.0/16", "fd00:96::/112"], dnsIps: ["10.96.0.10", "fd00:96::a"] } };
const MERGE = { "content-type": "application/merge-patch+json" };

let count = 0;
const create = ({ send }: ApiServer, spec: object, metadata: object = {}): Promise<RawAnswer> =>
  send({
    method: "POST",
    path: SERVICES,
    body: { metadata: { name: `s${++count}`, ...metadata }, spec: { ports: [{ port: 80 }], ...spec } },
  });
const change = async (api: ApiServer, spec: object, by: object): Promise<RawAnswer> => {
  const name = (await create(api, spec)).json.metadata["name"] ?? "";
  return api.send({ method: "PATCH", path: `${SERVICES}/${name}`, body: { spec: by }, headers: MERGE });
};
const causesOf = ({ json }: RawAnswer): string[] => (json.details?.causes ?? []).map(({ field, message }) => `${field}: ${message}`);

describe("a new service", () => {
  const refused: [spec: object, ...causes: string[]][] = [
    [{ type: "Wrong" }, 'spec.type: Unsupported value: "Wrong": must be one of "ClusterIP", "NodePort", "LoadBalancer", "ExternalName"'],
    [{ ports: [] }, "spec.ports: Required value: must have at least one port"],
    [{ ports: [{ port: 0 }] }, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"],
    [{ ports: [{ port: 1, protocol: "ICMP" }] }, 'spec.ports[0].protocol: Unsupported value: "ICMP": must be one of "TCP", "UDP", "SCTP"'],
    [{ ports: [{ port: 1, name: "Bad" }] }, 'spec.ports[0].name: Invalid value: "Bad": must be 1 to 63 of a-z'],
    [{ ports: [{ port: 1, targetPort: "bad_name" }] }, 'spec.ports[0].targetPort: Invalid value: "bad_name": '],
    [{ ports: [{ port: 1, appProtocol: "a b" }] }, 'spec.ports[0].appProtocol: Invalid value: "a b": '],
    [{ ports: [{ port: 1 }, { port: 2 }] }, "spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
    [{ ports: [{ port: 1, name: "a" }, { port: 2, name: "a" }] }, 'spec.ports[1].name: Duplicate value: "a"'], // prettier-ignore
    [{ ports: [{ port: 1, name: "a" }, { port: 1, name: "b" }] }, "spec.ports[1]: Duplicate value: "], // prettier-ignore
    [
      { type: "NodePort", ports: [{ port: 1, name: "a", nodePort: 30_001 }, { port: 2, name: "b", nodePort: 30_001 }] }, // prettier-ignore
      "spec.ports[1].nodePort: Duplicate value: 30001",
    ],
    [{ ports: [{ port: 1, nodePort: 30_001 }] }, "spec.ports[0].nodePort: Forbidden: 30001: may not be used when `type` is 'ClusterIP'"],
    [
      { type: "NodePort", ports: [{ port: 1, nodePort: 80 }] },
      "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
    ],
    [{ type: "NodePort", clusterIP: "None" }, "spec.clusterIP: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    [
      { type: "LoadBalancer", clusterIP: "None" },
      "spec.clusterIP: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
    ],
    [{ clusterIP: "10.96.0" }, "spec.clusterIP: Invalid value: "],
    [
      { clusterIP: "10.97.0.1" },
      'spec.clusterIPs: Invalid value: ["10.97.0.1"]: failed to allocate IP 10.97.0.1: the provided network does not match the current range',
    ],
    [
      { clusterIP: "10.96.0.5", clusterIPs: ["10.96.0.6"] },
      'spec.clusterIPs: Invalid value: ["10.96.0.6"]: first value must match `clusterIP`',
    ],
    [
      { clusterIPs: ["10.96.0.5", "10.96.0.6"] },
      'spec.clusterIPs: Invalid value: ["10.96.0.5","10.96.0.6"]: may specify no more than one IP for each IP family',
    ],
    [
      { clusterIPs: ["None", "10.96.0.6"] },
      'spec.clusterIPs: Invalid value: ["None","10.96.0.6"]: \'None\' must be the first and only value',
    ],
    [{ clusterIPs: ["10.96.0.5", "fd00:96::5", "10.96.0.6"] }, "spec.clusterIPs: Invalid value: "],
    [{ ipFamilies: ["IPv4", "IPv4"] }, 'spec.ipFamilies[1]: Duplicate value: "IPv4"'],
    [{ ipFamilies: ["IPv5"] }, 'spec.ipFamilies[0]: Unsupported value: "IPv5": must be one of "IPv4", "IPv6"'],
    [
      { ipFamilies: ["IPv6"], clusterIP: "10.96.0.9" },
      'spec.clusterIPs[0]: Invalid value: "10.96.0.9": expected an IPv6 value as indicated by `ipFamilies[0]`',
    ],
    [
      { ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4", "IPv6"] },
      "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be RequireDualStack or PreferDualStack when multiple 'ipFamilies' are specified",
    ],
    [
      { ipFamilyPolicy: "SingleStack", clusterIPs: ["10.96.0.5", "fd00:96::5"] },
      "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be RequireDualStack or PreferDualStack when multiple 'clusterIPs' are specified",
    ],
    [{ ipFamilyPolicy: "Dual" }, 'spec.ipFamilyPolicy: Unsupported value: "Dual": '],
    [{ sessionAffinity: "Cookie" }, 'spec.sessionAffinity: Unsupported value: "Cookie": must be one of "None", "ClientIP"'],
    [
      { sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: 86_401 } } },
      "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
    ],
    [
      { externalTrafficPolicy: "Local" },
      'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services',
    ],
    [{ type: "NodePort", externalTrafficPolicy: "Near" }, 'spec.externalTrafficPolicy: Unsupported value: "Near": '],
    [
      { type: "NodePort", healthCheckNodePort: 30_009 },
      "spec.healthCheckNodePort: Invalid value: 30009: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
    ],
    [{ internalTrafficPolicy: "Near" }, 'spec.internalTrafficPolicy: Unsupported value: "Near": must be one of "Cluster", "Local"'],
    [{ trafficDistribution: "PreferFar" }, 'spec.trafficDistribution: Unsupported value: "PreferFar": '],
    [{ publishNotReadyAddresses: "yes" }, 'spec.publishNotReadyAddresses: Invalid value: "yes": must be true or false'],
    [
      { allocateLoadBalancerNodePorts: true },
      "spec.allocateLoadBalancerNodePorts: Forbidden: true: may only be used when `type` is 'LoadBalancer'",
    ],
    [{ loadBalancerClass: "a/b" }, "spec.loadBalancerClass: Forbidden: \"a/b\": may only be used when `type` is 'LoadBalancer'"],
    [{ type: "LoadBalancer", loadBalancerClass: "-" }, 'spec.loadBalancerClass: Invalid value: "-": '],
    [{ externalIPs: ["127.0.0.1"] }, 'spec.externalIPs[0]: Invalid value: "127.0.0.1": '],
    [{ externalIPs: ["no"] }, 'spec.externalIPs[0]: Invalid value: "no": '],
    [{ selector: { "a b": "c" } }, "spec.selector[a b]: Invalid value: "],
    [{ selector: { a: "-" } }, 'spec.selector[a]: Invalid value: "-": '],
    [{ type: "ExternalName" }, "spec.externalName: Required value"],
    [{ type: "ExternalName", externalName: "a..b" }, 'spec.externalName: Invalid value: "a..b": '],
    [
      { type: "ExternalName", externalName: "a.b", clusterIP: "10.96.0.9", ipFamilies: ["IPv4"], ipFamilyPolicy: "SingleStack" },
      'spec.clusterIPs: Forbidden: ["10.96.0.9"]: may not be set for ExternalName services',
      'spec.ipFamilies: Forbidden: ["IPv4"]: may not be set for ExternalName services',
      'spec.ipFamilyPolicy: Forbidden: "SingleStack": may not be set for ExternalName services',
    ],
    // All at once.
    [
      { type: "Wrong", sessionAffinity: "x", internalTrafficPolicy: "y", ports: [{ port: 99_999 }] },
      "spec.type: Unsupported value: ",
      "spec.ports[0].port: Invalid value: 99999: must be between 1 and 65535, inclusive",
      "spec.sessionAffinity: Unsupported value: ",
      "spec.internalTrafficPolicy: Unsupported value: ",
    ],
  ];
  test("is refused with all that is wrong with it", async () => {
    const api = await startApi(BOTH);
    for (const [spec, ...wanted] of refused) {
      const answer = await create(api, spec);
      const found = [answer.status, answer.json.reason, ...causesOf(answer)];
      expect.soft(found, JSON.stringify(spec)).toEqual([422, "Invalid", ...wanted.map((text) => expect.stringContaining(text) as string)]);
    }
  });

  const taken: [spec: object, becomes: object, warning?: RegExp][] = [
    [
      {},
      {
        type: "ClusterIP",
        sessionAffinity: "None",
        internalTrafficPolicy: "Cluster",
        ipFamilies: ["IPv4"],
        ipFamilyPolicy: "SingleStack",
        ports: [{ port: 80, protocol: "TCP", targetPort: 80 }],
      },
    ],
    [
      { type: "", sessionAffinity: "", externalName: "", externalTrafficPolicy: "", healthCheckNodePort: 0, clusterIP: "" },
      { type: "ClusterIP", sessionAffinity: "None", ipFamilies: ["IPv4"] },
    ],
    [
      { ports: [{ port: 80, name: "", protocol: "", nodePort: 0, targetPort: 0 }] },
      { ports: [{ port: 80, protocol: "TCP", targetPort: 80 }] },
    ],
    [{ ports: [{ port: 80, targetPort: "http" }] }, { ports: [{ port: 80, protocol: "TCP", targetPort: "http" }] }],
    [{ ports: [{ port: 80, appProtocol: "kubernetes.io/h2c" }] }, { ports: [{ appProtocol: "kubernetes.io/h2c" }] }, /appProtocol is kept/],
    [{ sessionAffinity: "ClientIP" }, { sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } } }],
    [{ sessionAffinity: "ClientIP", sessionAffinityConfig: {} }, { sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800 } } }],
    [{ type: "NodePort" }, { externalTrafficPolicy: "Cluster", ports: [{ nodePort: expect.any(Number) as number }] }],
    [{ externalIPs: ["192.0.2.77"] }, { externalTrafficPolicy: "Cluster" }],
    [{ type: "LoadBalancer" }, { externalTrafficPolicy: "Cluster", allocateLoadBalancerNodePorts: true }, /no address is given out/],
    [
      { type: "LoadBalancer", externalTrafficPolicy: "Local", loadBalancerClass: "example.com/x" },
      { healthCheckNodePort: expect.any(Number) as number },
      /loadBalancerClass is kept/,
    ],
    [
      { clusterIP: "None", ports: [] },
      { clusterIP: "None", clusterIPs: ["None"], ipFamilies: ["IPv4"] },
    ],
    [{ ipFamilies: ["IPv6"] }, { ipFamilies: ["IPv6"], ipFamilyPolicy: "SingleStack" }],
    [{ ipFamilies: ["IPv6", "IPv4"] }, { ipFamilies: ["IPv6", "IPv4"], ipFamilyPolicy: "RequireDualStack" }],
    [{ ipFamilyPolicy: "PreferDualStack" }, { ipFamilies: ["IPv4", "IPv6"] }],
    [
      { type: "ExternalName", externalName: "example.com.", ports: [] },
      { externalName: "example.com.", sessionAffinity: "None" },
    ],
    [
      { publishNotReadyAddresses: true, trafficDistribution: "PreferClose" },
      { publishNotReadyAddresses: true, trafficDistribution: "PreferClose" },
    ],
  ];
  test("is taken, with its defaults", async () => {
    const api = await startApi(BOTH);
    for (const [spec, becomes, warning] of taken) {
      const { status, json, headers } = await create(api, spec);
      expect.soft([status, json.spec], `${JSON.stringify(spec)} ${json.message ?? ""}`).toMatchObject([201, becomes]);
      expect.soft(String(headers["warning"] ?? ""), JSON.stringify(spec)).toMatch(warning ?? /^$/);
    }
  });

  test("has annotations and labels with names of a prefix and a name", async () => {
    const api = await startApi(BOTH);
    for (const key of ["a b", "-a", "a/b/c", "x".repeat(64), "/a"]) {
      expect(causesOf(await create(api, {}, { annotations: { [key]: "any text" } }))).toEqual([
        expect.stringContaining(`metadata.annotations[${key}]: `),
      ]);
      const shown = `metadata.labels[${key}]: Invalid value: ${JSON.stringify(key)}: must be an optional DNS prefix`;
      expect(causesOf(await create(api, {}, { labels: { [key]: "x" } }))).toEqual([expect.stringContaining(shown)]);
    }
  });
});

describe("a change of a service", () => {
  const dual = { ipFamilyPolicy: "PreferDualStack" };
  const local = { type: "LoadBalancer", externalTrafficPolicy: "Local", loadBalancerClass: "a/b" };
  const refused: [spec: object, by: object, ...causes: string[]][] = [
    [
      {},
      { clusterIP: "10.96.0.77", clusterIPs: ["10.96.0.77"] },
      'spec.clusterIPs[0]: Invalid value: ["10.96.0.77"]: may not change once set',
    ],
    // Who patches the older field alone means both.
    [{}, { clusterIP: "10.96.0.77" }, 'spec.clusterIPs[0]: Invalid value: ["10.96.0.77"]: may not change once set'],
    [{}, { clusterIP: "None" }, 'spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set'],
    [{}, { ipFamilies: ["IPv6"] }, 'spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set'],
    [dual, { ipFamilies: ["IPv6", "IPv4"] }, 'spec.ipFamilies[0]: Invalid value: ["IPv6","IPv4"]: may not change once set'],
    [
      dual,
      { ipFamilies: ["IPv4"] },
      "spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily",
    ],
    [local, { loadBalancerClass: "c/d" }, 'spec.loadBalancerClass: Invalid value: "c/d": may not change once set'],
    [local, { healthCheckNodePort: 32_000 }, "spec.healthCheckNodePort: Invalid value: 32000: field is immutable"],
  ];
  test("is refused", async () => {
    const api = await startApi(BOTH);
    for (const [spec, by, ...wanted] of refused) {
      const answer = await change(api, spec, by);
      const found = [answer.status, ...causesOf(answer)];
      expect.soft(found, JSON.stringify([spec, by])).toEqual([422, ...wanted.map((text) => expect.stringContaining(text) as string)]);
    }
  });

  const taken: [spec: object, by: object, becomes: object][] = [
    [{}, dual, { ipFamilies: ["IPv4", "IPv6"] }],
    [dual, { ipFamilyPolicy: "SingleStack" }, { ipFamilies: ["IPv4"], ipFamilyPolicy: "SingleStack" }],
    [dual, { ipFamilyPolicy: "SingleStack", ipFamilies: ["IPv4"] }, { ipFamilies: ["IPv4"] }],
    [{ clusterIP: "None" }, { ipFamilies: ["IPv6"] }, { clusterIP: "None", ipFamilies: ["IPv6"] }],
    [{ sessionAffinity: "ClientIP" }, { sessionAffinity: "None" }, { sessionAffinity: "None" }],
    [{ type: "NodePort" }, { type: "LoadBalancer" }, { ports: [{ nodePort: expect.any(Number) as number }] }],
    [{}, { type: "ExternalName", externalName: "example.com" }, { type: "ExternalName" }],
    [local, { type: "ClusterIP" }, { type: "ClusterIP" }],
  ];
  test("is taken, and what belonged to the former type goes", async () => {
    const api = await startApi(BOTH);
    for (const [spec, by, becomes] of taken) {
      const { status, json } = await change(api, spec, by);
      expect.soft([status, json.spec], `${JSON.stringify([spec, by])} ${json.message ?? ""}`).toMatchObject([200, becomes]);
    }
    const gone = (await change(api, local, { type: "ClusterIP" })).json.spec;
    for (const field of ["healthCheckNodePort", "externalTrafficPolicy", "loadBalancerClass", "ports.0.nodePort"])
      expect(gone).not.toHaveProperty(field);
    const named = (await change(api, dual, { type: "ExternalName", externalName: "a.b" })).json.spec;
    for (const field of ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]) expect(named).not.toHaveProperty(field);
    expect((await change(api, { sessionAffinity: "ClientIP" }, { sessionAffinity: "None" })).json.spec).not.toHaveProperty(
      "sessionAffinityConfig",
    );
  });
});

describe("a faulty form hides no fault that a rule finds", () => {
  /** Rules of all sorts, each refused for itself. */
  const ruled = {
    metadata: { annotations: { "fairlead.dev/scheduler": "best" } },
    spec: {
      type: "NodePort",
      clusterIP: "10.97.0.1",
      externalIPs: ["10.96.0.9"],
      loadBalancerClass: "example.com/class",
      healthCheckNodePort: 31_000,
      ports: [
        { name: "a", port: 80, nodePort: 80 },
        { name: "a", port: 81 },
        { name: "c", port: 82, nodePort: 30_777 },
      ],
    },
  };
  const RULES = [
    "metadata.annotations[fairlead.dev/scheduler]",
    "spec.clusterIPs",
    "spec.externalIPs[0]",
    "spec.healthCheckNodePort",
    "spec.loadBalancerClass",
    "spec.ports[0].nodePort",
    "spec.ports[1].name",
  ];
  const OF_PORTS = ["spec.ports[0].nodePort", "spec.ports[1].name", "spec.externalIPs[0]"];
  const fieldsOf = ({ json }: RawAnswer): string[] => (json.details?.causes ?? []).map(({ field }) => field).toSorted();

  test("all of them are told at once", async () => {
    const api = await startApi();
    const held = await create(api, { type: "NodePort", ports: [{ port: 80, nodePort: 30_777 }] });
    expect(held.status).toBe(201);
    const answer = await create(api, ruled.spec, ruled.metadata);
    expect([answer.status, fieldsOf(answer)]).toEqual([422, [...RULES, "spec.ports[2].nodePort"].toSorted()]);
    const mixed = await create(
      api,
      { ...ruled.spec, sessionAffinity: "Sticky", ports: [...ruled.spec.ports, { name: "Bad", port: 0, targetPort: "-" }] },
      { ...ruled.metadata, labels: { "/": "x" } },
    );
    expect([mixed.status, fieldsOf(mixed)]).toEqual([
      422,
      [
        ...RULES,
        "spec.ports[2].nodePort",
        "metadata.labels[/]",
        "spec.sessionAffinity",
        "spec.ports[3].name",
        "spec.ports[3].port",
        "spec.ports[3].targetPort",
      ].toSorted(),
    ]);
    expect(mixed.json.message).toMatch(/spec\.ports\[2\]\.nodePort: Invalid value: 30777: provided port is already allocated/);
  });

  test.for<[what: string, spec: object, ...without: string[]]>([
    ["a text that is none of those allowed", { internalTrafficPolicy: "Some" }],
    ["a value of another type", { publishNotReadyAddresses: "yes" }],
    ["a list of another type", { loadBalancerSourceRanges: "10.0.0.0/8" }],
    ["a faulty item beside one that a rule refuses", { externalIPs: ["10.96.0.9", "x"] }],
    ["a field of its own that a rule is about too", { healthCheckNodePort: 99_999 }],
    ["a number that is none", { ports: [...ruled.spec.ports, { name: "d", port: 1.5 }] }],
    ["a faulty item of the list", { ports: [...ruled.spec.ports, "d"] }, ...OF_PORTS],
    ["an unknown type", { type: "Wrong" }, ...RULES.filter((field) => field.startsWith("spec.") && field !== "spec.ports[1].name")],
    ["no list of ports", { ports: 1 }, ...OF_PORTS],
  ])("%s", async ([, faulty, ...without]) => {
    const api = await startApi();
    const form = fieldsOf(await create(api, { type: "NodePort", ...faulty }));
    const wanted = RULES.filter((field) => !without.includes(field));
    const answer = await create(api, { ...ruled.spec, ...faulty }, ruled.metadata);
    expect(form.length).toBeGreaterThan(0);
    expect([answer.status, fieldsOf(answer)]).toEqual([422, [...new Set([...wanted, ...form])].toSorted()]);
  });

  test("whatever stands in whichever field, the answer is 201 or 422", { timeout: 30_000 }, async () => {
    const api = await startApi();
    const value = fc.oneof(
      fc.constantFrom<unknown>(
        "None",
        "10.96.0.9",
        "10.1.1.1",
        "fd00::1",
        "x",
        "",
        "LoadBalancer",
        "Local",
        "IPv6",
        0,
        80,
        31_000,
        1.5,
        -1,
        true,
        {},
        [],
      ),
      fc.array(
        fc.constantFrom<unknown>(
          "10.96.0.9",
          "10.1.1.1",
          "None",
          "IPv4",
          "IPv6",
          "x",
          1,
          {},
          { port: 80 },
          { port: "x", nodePort: 30_001 },
        ),
        {
          maxLength: 3,
        },
      ),
    );
    const fields = [
      "type", "ports", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "externalIPs", "externalName", "sessionAffinity",
      "sessionAffinityConfig", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerIP", "loadBalancerSourceRanges", "loadBalancerClass",
      "allocateLoadBalancerNodePorts", "selector",
    ]; // prettier-ignore
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.constantFrom(...fields), value, { minKeys: 1, maxKeys: 5, noNullPrototype: true }),
        async (spec) => {
          const { status } = await create(api, { type: "LoadBalancer", ...spec });
          expect([201, 422]).toContain(status);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("a refused one takes no address and no port, and what was refused is taken when it is mended", async () => {
    const api = await startApi();
    const before = api.store.revision;
    for (let i = 0; i < 20; i++) expect((await create(api, { ...ruled.spec, sessionAffinity: "x" }, ruled.metadata)).status).toBe(422);
    expect(api.store.revision).toBe(before);
    expect((await create(api, { type: "NodePort" })).status).toBe(201);
  });
});
