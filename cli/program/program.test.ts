import { expect, test } from "vitest";
import { createProgram } from "./program.ts";
import { modelOf } from "../completion/model.ts";
import { completionScript } from "../completion/scripts.ts";
import { parseObject } from "#proto/parse.ts";
import { drainTargets } from "../commands/drain.ts";
import { portsFor } from "../commands/expose.ts";
import { outsideOf, withNodePort } from "../commands/expose-spec.ts";
import { specOf } from "../commands/register.ts";
import type { Io } from "../io.ts";

const silent: Io = {
  env: {},
  stdoutIsTerminal: false,
  stderrIsTerminal: false,
  stop: new AbortController().signal,
  unread: new AbortController().signal,
  out: () => undefined,
  err: () => undefined,
  readStdin: async () => "",
  releaseSignals: () => undefined,
};
const program = createProgram(silent, () => undefined);
const models = modelOf(program);

test("every command that does something has a help with examples", () => {
  const own = models.filter(
    ({ path, commands }) => path !== "" && commands.length === 0 && !["server", "agent", "dns", "demo"].includes(path),
  );
  expect(own.length).toBeGreaterThan(15);
  for (const { path } of own) {
    const command = path.split(" ").reduce((at, word) => at.commands.find((one) => one.name() === word) ?? at, program);
    let text = "";
    command.configureOutput({ writeOut: (part) => (text += part) });
    command.outputHelp();
    expect(text, path).toContain("Examples:\n");
  }
});

test("server, agent, dns and demo are listed with a line each", () => {
  for (const name of ["server", "agent", "dns", "demo"]) expect(program.helpInformation()).toMatch(new RegExp(`^  ${name} `, "m"));
});

test.for(["bash", "zsh", "fish"] as const)("the %s completion knows every command and long option", (shell) => {
  const script = completionScript(shell, models);
  for (const { commands, options } of models) {
    for (const { name } of commands) expect(script).toContain(name);
    for (const { long } of options) expect(script).toContain(shell === "fish" ? `-l ${long?.slice(2)}` : long);
  }
  expect(script).not.toContain("__names'");
});

const workloadOptions = { label: [], port: [], check: [], timeout: "30s" };

test("register turns its options into the spec of a workload", () => {
  const spec = specOf({
    ...workloadOptions,
    port: ["http=8080", "9000"],
    check: ["http:/healthz", "tcp:9000"],
    checkInterval: "2s",
    checkFall: "2",
    address: "10.0.0.1",
    weight: "3",
    ttl: "30s",
  });
  expect(spec).toEqual({
    ports: [
      { name: "http", port: 8080, protocol: "TCP" },
      { port: 9000, protocol: "TCP" },
    ],
    checks: [
      { http: { port: "http", path: "/healthz" }, interval: "2s", fall: 2 },
      { tcp: { port: 9000 }, interval: "2s", fall: 2 },
    ],
    address: "10.0.0.1",
    weight: 3,
    ttl: "30s",
  });
  expect(
    parseObject("Workload", {
      apiVersion: "fairlead.dev/v1",
      kind: "Workload",
      metadata: { name: "web-1" },
      spec: { node: "vm-1", ...spec },
    }).spec.weight,
  ).toBe(3);
});

test("register refuses options that make no sense, and names them", () => {
  expect(() => specOf({ ...workloadOptions, checkInterval: "2s" })).toThrow("need a --check");
  expect(() => specOf({ ...workloadOptions, ttl: "30" })).toThrow("--ttl 30");
  expect(() => specOf({ ...workloadOptions, port: ["80"], check: ["tcp:80"], checkRise: "0" })).toThrow("--check-rise 0");
});

test("expose takes the ports of the workload, or leads the given one to its only port", () => {
  const workload = (ports: object[]) =>
    parseObject("Workload", {
      apiVersion: "fairlead.dev/v1",
      kind: "Workload",
      metadata: { name: "web-1" },
      spec: { node: "vm-1", ports },
    });
  const one = workload([{ name: "http", port: 8080 }]);
  expect(portsFor([], undefined, one)).toEqual([{ name: "http", port: 8080, protocol: "TCP" }]);
  expect(portsFor([{ port: 80, protocol: "TCP" }], undefined, one)).toEqual([{ port: 80, protocol: "TCP", targetPort: "http" }]);
  expect(portsFor([{ port: 80, protocol: "TCP" }], "9090", one)).toEqual([{ port: 80, protocol: "TCP", targetPort: 9090 }]);
  expect(portsFor([{ port: 80, protocol: "TCP" }], undefined, workload([{ port: 1 }, { port: 2 }]))).toEqual([
    { port: 80, protocol: "TCP" },
  ]);
  expect(() => portsFor([], undefined, undefined)).toThrow("which port?");
});

const nothing = { externalIp: [], loadBalancerIp: [], sourceRange: [] };

test("expose takes the type from what only it can have, and turns options into fields", () => {
  expect(outsideOf(nothing)).toEqual({ spec: { type: "ClusterIP" }, annotations: {} });
  expect(outsideOf({ ...nothing, nodePort: "30080" }).spec.type).toBe("NodePort");
  expect(outsideOf({ ...nothing, nodePort: "30080", type: "LoadBalancer" }).spec.type).toBe("LoadBalancer");
  const outside = outsideOf({
    ...nothing,
    externalIp: ["198.51.100.1"],
    loadBalancerIp: ["192.0.2.7"],
    sourceRange: ["10.0.0.0/8"],
    externalTrafficPolicy: "Local",
    sessionAffinity: "ClientIP",
  });
  expect(outside.spec).toEqual({
    type: "LoadBalancer",
    externalIPs: ["198.51.100.1"],
    loadBalancerIP: "192.0.2.7",
    loadBalancerSourceRanges: ["10.0.0.0/8"],
    externalTrafficPolicy: "Local",
    sessionAffinity: "ClientIP",
  });
  expect(outsideOf({ ...nothing, loadBalancerIp: ["192.0.2.7", "fd00::7"] })).toEqual({
    spec: { type: "LoadBalancer" },
    annotations: { "fairlead.dev/load-balancer-ips": "192.0.2.7,fd00::7" },
  });
  const port = { port: 80, protocol: "TCP" } as const;
  expect(withNodePort([port], "30080")).toEqual([{ ...port, nodePort: 30_080 }]);
  expect(() => withNodePort([port, { ...port, port: 81 }], "30080")).toThrow("--node-port needs exactly one --port");
  expect(() => withNodePort([port], "x")).toThrow("--node-port x");
  expect(() => outsideOf({ ...nothing, type: "ClusterIP", nodePort: "30080" })).toThrow("--node-port is for");
  expect(() => outsideOf({ ...nothing, type: "NodePort", sourceRange: ["10.0.0.0/8"] })).toThrow(
    "--source-range is for --type LoadBalancer",
  );
});

test("drain takes nodes by their bare names, and workloads", () => {
  expect(drainTargets(["vm-1", "node/vm-2", "wl/web-1"])).toEqual([
    { kind: "Node", name: "vm-1" },
    { kind: "Node", name: "vm-2" },
    { kind: "Workload", name: "web-1" },
  ]);
  expect(() => drainTargets(["svc/web"])).toThrow("cannot drain svc/web");
});
