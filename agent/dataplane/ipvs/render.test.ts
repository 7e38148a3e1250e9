import { expect, test } from "vitest";
import type { Frontend } from "#agent/compile/table.ts";
import { aBackend, aFrontend, aHostTable } from "#test/tables.ts";
import { TABLES, rulesOf } from "./render.ts";
import { renderTable } from "./rules-text.ts";
import { parseRules } from "./listing.ts";
import { IpvsState, type Steps } from "./state.ts";

const host = aHostTable({ nodeIps: ["172.30.0.1"], localCidrs: ["10.200.1.0/24"] });
const two = [aBackend("10.200.1.11", 8080, { isLocal: true }), aBackend("172.30.0.2")];

const textOf = ({ prepare, open, addresses, turn, close }: Steps): string =>
  [
    ["ipset", prepare],
    ["ipvsadm", open],
    ["addresses", addresses.added.map((one) => `+ ${one}\n`).join("") + addresses.removed.map((one) => `- ${one}\n`).join("")],
    ["ipset", turn],
    ["ipvsadm", close],
  ]
    .filter(([, text]) => text !== "")
    .map(([tool, text]) => `# ${tool}\n${text}`)
    .join("");

function stateWith(frontends: readonly Frontend[], table = host): { state: IpvsState; first: Steps } {
  const state = new IpvsState("IPv4", { host: table, hasScheduler: (name) => name !== "mh" });
  for (const frontend of frontends) state.put(frontend);
  return { state, first: state.takeSteps() };
}

const LB: Partial<Frontend> = { scope: "loadBalancer", address: "198.18.0.1" };
const outside = { backends: [two[0] ?? aBackend("10.200.1.11")], whenEmpty: "drop" } as const;

const cases: readonly (readonly [string, readonly Frontend[]])[] = [
  ["clusterip-two-endpoints", [aFrontend({ backends: two })]],
  ["weights", [aFrontend({ backends: [aBackend("172.30.0.2"), aBackend("172.30.0.3", 8080, { weight: 3 })] })]],
  ["affinity", [aFrontend({ backends: two, affinitySeconds: 60 })]],
  ["scheduler-with-fallback", [aFrontend({ backends: two, scheduler: "sh" }), aFrontend({ port: 81, backends: two, scheduler: "mh" })]],
  ["no-endpoints", [aFrontend({}), aFrontend({ port: 81, whenEmpty: "drop" })]],
  ["protocols", [aFrontend({ protocol: "UDP", port: 53, backends: two }), aFrontend({ protocol: "SCTP", port: 53, backends: two })]],
  ["udp-draining", [aFrontend({ protocol: "UDP", backends: two, draining: [{ address: "172.30.0.9", port: 8080 }] })]],
  ["node-port", [aFrontend({ scope: "nodePort", address: "", port: 30_080, backends: two })]],
  ["node-port-local", [aFrontend({ scope: "nodePort", address: "", port: 30_080, backends: two, outside })]],
  ["affinity-node-port", [aFrontend({ scope: "nodePort", address: "", port: 30_080, backends: two, affinitySeconds: 60 })]],
  ["affinity-external", [aFrontend({ scope: "external", address: "198.19.0.1", backends: two, affinitySeconds: 60, scheduler: "sh" })]],
  ["affinity-load-balancer", [aFrontend({ ...LB, backends: two, affinitySeconds: 60 })]],
  ["external", [aFrontend({ scope: "external", address: "198.19.0.1", backends: two })]],
  ["load-balancer-local", [aFrontend({ ...LB, backends: two, outside: { backends: [], whenEmpty: "drop" } })]],
  ["source-ranges", [aFrontend({ ...LB, backends: two, sourceRanges: ["172.30.0.0/24", "10.0.0.1/32"] })]],
  ["source-ranges-local", [aFrontend({ ...LB, backends: two, outside, sourceRanges: ["0.0.0.0/0"] })]],
  ["neighbour-on-the-lan", [aFrontend({ backends: [aBackend("172.30.0.200", 8080, { isLocal: true })] })]],
];

test.for(cases)("what is written at first: %s", async ([name, frontends]) => {
  await expect(textOf(stateWith(frontends).first)).toMatchFileSnapshot(`golden/${name}.txt`);
});

const changes: readonly (readonly [string, readonly Frontend[], readonly Frontend[]])[] = [
  ["change-endpoint", [aFrontend({ backends: two })], [aFrontend({ backends: [two[0] ?? aBackend(""), aBackend("172.30.0.3")] })]],
  [
    "change-weights-appear",
    [aFrontend({ backends: [aBackend("172.30.0.2")] })],
    [aFrontend({ backends: [aBackend("172.30.0.2", 8080, { weight: 2 }), aBackend("172.30.0.3")] })],
  ],
  ["change-last-endpoint-gone", [aFrontend({ backends: two })], [aFrontend({})]],
  ["change-first-endpoint", [aFrontend({ ...LB })], [aFrontend({ ...LB, backends: two })]],
  [
    "change-udp-endpoint",
    [aFrontend({ protocol: "UDP", backends: two })],
    [aFrontend({ protocol: "UDP", backends: [aBackend("172.30.0.3")] })],
  ],
  ["change-udp-service-gone", [aFrontend({ protocol: "UDP", backends: two })], []],
  ["change-load-balancer-gone", [aFrontend({ ...LB, backends: two })], []],
  ["change-ranges-come", [aFrontend({ ...LB, backends: two })], [aFrontend({ ...LB, backends: two, sourceRanges: ["172.30.0.0/24"] })]],
  ["change-ranges-go", [aFrontend({ ...LB, backends: two, sourceRanges: ["172.30.0.0/24"] })], [aFrontend({ ...LB, backends: two })]],
];

test.for(changes)("what a change writes: %s", async ([name, before, after]) => {
  const { state } = stateWith(before);
  for (const frontend of before) state.remove(frontend);
  for (const frontend of after) state.put(frontend);
  await expect(textOf(state.takeSteps())).toMatchFileSnapshot(`golden/${name}.txt`);
});

test("what is gone is taken away when it has no connections left, and its address with it", () => {
  const frontend = aFrontend({ ...LB, backends: two });
  const { state } = stateWith([frontend]);
  state.remove(frontend);
  expect(textOf(state.takeSteps())).not.toContain("- 198.18.0.1");
  expect(textOf(state.takeIdle((_key, real) => real.startsWith("10.200.1.11")))).toBe(
    "# ipset\ndel FLV-4-BACKENDS 172.30.0.2,tcp:8080\n# ipvsadm\n-d -f 260046864 -r 172.30.0.2:8080\n",
  );
  const last = textOf(state.takeIdle(() => false));
  expect(last).toContain("-D -f 260046864\n");
  expect(last).toContain("- 198.18.0.1\n");
  expect(state.draining.size + state.servers.size).toBe(0);
});

test("an address that was kept for the connections of a service without ranges is not, once it has some", () => {
  const frontend = aFrontend({ ...LB, backends: two });
  const { state } = stateWith([frontend]);
  state.remove(frontend);
  expect(textOf(state.takeSteps())).not.toContain("- 198.18.0.1");
  state.put({ ...frontend, sourceRanges: ["10.0.0.0/8"] });
  expect(textOf(state.takeSteps())).toContain("- 198.18.0.1");
});

test("an endpoint that comes back while it was still draining gets new connections again", () => {
  const frontend = aFrontend({ backends: two });
  const { state } = stateWith([frontend]);
  state.remove(frontend);
  state.takeSteps();
  state.put(frontend);
  expect(state.takeSteps().open).toBe("-e -t 10.96.0.10:80 -r 10.200.1.11:8080 -m -w 1\n-e -t 10.96.0.10:80 -r 172.30.0.2:8080 -m -w 1\n");
  expect(state.draining.size).toBe(0);
});

test("a health-check port is let in for as long as a service has it, where node ports are", () => {
  const { state } = stateWith([], { ...host, nodePortCidrs: ["172.30.0.0/16", "fd30::/64"] });
  state.putHealthPort(32_000);
  state.putHealthPort(32_000);
  expect(textOf(state.takeSteps())).toBe("# ipset\nadd FLV-4-HEALTH 172.30.0.0/16,tcp:32000\n");
  state.removeHealthPort(32_000);
  expect(textOf(state.takeSteps())).toBe("");
  state.removeHealthPort(32_000);
  expect(textOf(state.takeSteps())).toBe("# ipset\ndel FLV-4-HEALTH 172.30.0.0/16,tcp:32000\n");
});

test.for(["IPv4", "IPv6"] as const)("the rules of %s", async (family) => {
  const table = aHostTable({ localCidrs: ["10.200.1.0/24", "fd30:c:1::/64"], nodeIps: ["172.30.0.1", "fd30::1"] });
  const rules = rulesOf(family, { ...table, dnsIps: ["10.96.0.2", "fd00:96::2"] }, { isLiberal: false });
  const nothing = parseRules("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:DOCKER-USER - [0:0]\n").filter;
  const text = TABLES.map((name) => renderTable(name, { wanted: rules, listing: nothing }, "FLV-canary")).join("");
  await expect(text).toMatchFileSnapshot(`golden/rules-${family.toLowerCase()}.rules`);
});

test("where all is masqueraded, what goes through a virtual IP is first, as conntrack prints its range", () => {
  const serviceCidrs = ["10.96.0.0/16", "10.97.0.1/32", "fd10::/32", "fd20::1/128"];
  const first = (family: "IPv4" | "IPv6") => {
    const { chains } = rulesOf(family, { ...host, serviceCidrs, masqueradeAll: true }, { isLiberal: true });
    return chains.nat.get("FLV-POSTROUTING")?.slice(0, 2);
  };
  const rule = (cidr: string) => `-m conntrack --ctorigdst ${cidr} -j MASQUERADE`;
  expect(first("IPv4")).toEqual([rule("10.96.0.0/16"), rule("10.97.0.1")]);
  expect(first("IPv6")).toEqual([rule("fd10::/32"), rule("fd20::1")]);
});

test("where INVALID is liberal, there are fewer rules", () => {
  const rules = rulesOf("IPv4", host, { isLiberal: true });
  expect(rules.chains.filter.has("FLV-INVALID")).toBe(false);
  expect(rules.jumps.some(({ rule }) => rule.includes("INVALID"))).toBe(false);
});

test("damaged data is not written into the kernel", () => {
  const put = (more: Partial<Frontend>) => () => stateWith([aFrontend({ backends: two, ...more })]);
  expect(put({ address: "10.96.0.10 -j ACCEPT" })).toThrow("is no address");
  expect(put({ port: 70_000 })).toThrow("is no port");
  expect(put({ affinitySeconds: -1 })).toThrow("is no affinity timeout");
  expect(put({ ...LB, sourceRanges: ["10.0.0.0/8\nadd x"] })).toThrow("is no prefix");
});
