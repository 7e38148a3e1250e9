import { describe, expect, test } from "vitest";
import type { Frontend, HostTable } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { aBackend, aCompiled, aFrontend as anEmptyFrontend, aHostTable, aTable } from "#test/tables.ts";
import { wholeText } from "../tool-input.ts";
import { parseListing } from "./listing.ts";
import { applyChanges, planSync, rulesOf, type Rules } from "./plan.ts";

const host = aHostTable({
  serviceCidrs: ["10.96.0.0/16", "fd10::/112"],
  nodeIps: ["172.30.0.1", "fd30::1"],
  localCidrs: ["10.200.1.0/24", "fd20:1::/64"],
});

const to = aBackend;
const local = (address: string) => aBackend(address, 8080, { isLocal: true });
const aFrontend = (more: Partial<Frontend> = {}): Frontend => anEmptyFrontend({ backends: [to("172.30.0.2"), to("172.30.0.3")], ...more });
const aSixFrontend = (more: Partial<Frontend> = {}): Frontend =>
  anEmptyFrontend({ family: "IPv6", address: "fd10::10", backends: [to("fd30::2"), to("fd30::3")], ...more });
const aBalancer = (more: Partial<Frontend> = {}): Frontend => aFrontend({ scope: "loadBalancer", address: "203.0.113.10", ...more });
const aNodePort = (more: Partial<Frontend> = {}): Frontend => aFrontend({ scope: "nodePort", address: "", port: 30_080, ...more });

const nothing = { nat: parseListing({ prefix: "FL-" }, ""), filter: parseListing({ prefix: "FL-" }, "") };
const rulesFor = (frontends: readonly Frontend[], of: HostTable = host, family: IpFamily = "IPv4"): Rules =>
  rulesOf(
    aTable(
      frontends.map((frontend, i) => aCompiled([frontend], `${frontend.id}${i}`)),
      of,
    ),
    { family },
  );
const text = (frontends: readonly Frontend[], of: HostTable = host, family: IpFamily = "IPv4"): string =>
  wholeText(planSync(rulesFor(frontends, of, family), nothing, "1"));

describe("the whole text", () => {
  const outside = { backends: [local("10.200.1.11")], whenEmpty: "drop" as const };
  test.for<{ name: string; frontends: readonly Frontend[]; more?: Partial<HostTable> }>([
    { name: "clusterip-two-endpoints", frontends: [aFrontend()] },
    {
      name: "no-endpoints",
      frontends: [
        aFrontend({ backends: [] }),
        aFrontend({ id: "default/none-here", port: 81, backends: [], whenEmpty: "drop" }),
        aFrontend({ id: "default/dns", protocol: "UDP", port: 53, backends: [] }),
      ],
    },
    { name: "affinity", frontends: [aFrontend({ affinitySeconds: 10_800 })] },
    { name: "nine-endpoints", frontends: [aFrontend({ backends: Array.from({ length: 9 }, (_, i) => to(`172.30.0.${i + 2}`)) })] },
    {
      name: "weights-and-protocols",
      frontends: [
        aFrontend({ backends: [{ ...to("172.30.0.2"), weight: 3 }, to("172.30.0.3")] }),
        aFrontend({ id: "default/dns", protocol: "UDP", port: 80, backends: [to("172.30.0.4", 53)] }),
        aFrontend({ id: "default/sig", protocol: "SCTP", port: 80, address: "10.96.255.1", backends: [to("172.30.0.5", 36412)] }),
      ],
    },
    { name: "node-port", frontends: [aNodePort()] },
    { name: "node-port-cidrs", frontends: [aNodePort({ protocol: "UDP" })], more: { nodePortCidrs: ["172.30.0.0/16", "fd30::/64"] } },
    { name: "node-port-empty", frontends: [aNodePort({ backends: [] })] },
    { name: "node-port-outside-local", frontends: [aNodePort({ outside })] },
    { name: "load-balancer", frontends: [aBalancer()] },
    { name: "load-balancer-ranges", frontends: [aBalancer({ sourceRanges: ["198.51.100.0/24", "172.30.0.0/16"] })] },
    { name: "load-balancer-ranges-empty", frontends: [aBalancer({ sourceRanges: ["198.51.100.0/24"], backends: [] })] },
    { name: "load-balancer-nobody-may", frontends: [aBalancer({ sourceRanges: [] })] },
    { name: "load-balancer-ranges-local", frontends: [aBalancer({ sourceRanges: ["198.51.100.0/24"], outside })] },
    { name: "load-balancer-local-none-here", frontends: [aBalancer({ outside: { backends: [], whenEmpty: "drop" } })] },
    {
      name: "load-balancer-local-none-anywhere",
      frontends: [aBalancer({ backends: [], outside: { backends: [], whenEmpty: "drop" } })],
    },
    { name: "external", frontends: [aFrontend({ scope: "external", address: "192.0.2.7" })] },
    { name: "external-local-affinity", frontends: [aFrontend({ scope: "external", address: "192.0.2.7", outside, affinitySeconds: 60 })] },
    { name: "neighbour", frontends: [aFrontend({ backends: [local("172.30.0.77"), local("10.200.1.11"), local("172.30.0.1")] })] },
    { name: "masquerade-all", frontends: [], more: { masqueradeAll: true } },
    { name: "dns", frontends: [], more: { dnsIps: ["10.96.0.10", "fd00:96::10"] } },
  ])("$name", async ({ name, frontends, more = {} }) => {
    const of = { ...host, ...more };
    await expect(text(frontends, of)).toMatchFileSnapshot(`golden/${name}.rules`);
    expect(text(frontends.toReversed(), of)).toBe(text(frontends, of));
  });

  test.for<{ name: string; frontends: readonly Frontend[] }>([
    { name: "six-clusterip", frontends: [aSixFrontend()] },
    { name: "six-affinity", frontends: [aSixFrontend({ affinitySeconds: 60 })] },
    {
      name: "six-everywhere",
      frontends: [
        aSixFrontend({ id: "default/gone", port: 81, backends: [], whenEmpty: "drop" }),
        aSixFrontend({ scope: "nodePort", address: "", port: 30_080, backends: [to("fd30::2"), local("fd30::77")] }),
        aSixFrontend({
          scope: "loadBalancer",
          address: "2001:db8:1:2:3:4:5:6",
          sourceRanges: ["fd30::/64"],
          outside: { backends: [], whenEmpty: "drop" },
        }),
        aSixFrontend({ scope: "external", address: "2001:db8::7", protocol: "UDP", backends: [] }),
      ],
    },
  ])("$name", async ({ name, frontends }) => {
    await expect(text(frontends, host, "IPv6")).toMatchFileSnapshot(`golden/${name}.rules`);
  });

  test("the two families know nothing of each other", () => {
    expect(text([aFrontend(), aSixFrontend()])).toBe(text([aFrontend()]));
    expect(text([aFrontend(), aSixFrontend()], host, "IPv6")).toBe(text([aSixFrontend()], host, "IPv6"));
  });

  test("where the kernel is liberal about TCP, nothing is dropped as INVALID", () => {
    const textWhere = (liberal: boolean): string => wholeText(planSync(rulesFor([]), { ...nothing, liberal }, "1"));
    expect(textWhere(false)).toContain("-j FL-INVALID");
    expect(textWhere(true)).not.toContain("-j FL-INVALID");
  });
});

describe("the text of a change", () => {
  const change = (previous: Frontend | undefined, next: Frontend | undefined, others: readonly Frontend[] = []): string => {
    const held = rulesFor([...(previous ? [previous] : []), ...others]);
    wholeText(planSync(held, nothing, "1"));
    return applyChanges(held, [{ previous, next }], "2");
  };
  const neighbours = Array.from({ length: 40 }, (_, i) => aFrontend({ id: `default/n${i}`, address: `10.96.${i % 4}.${i}`, port: 81 }));

  test("another endpoint writes one leaf", async () => {
    await expect(change(aFrontend(), aFrontend({ backends: [to("172.30.0.9")] }), neighbours)).toMatchFileSnapshot(
      "golden/change-endpoint.rules",
    );
  });
  test("the last endpoint gone: refused first, then translated no more", async () => {
    const gone = aFrontend({ backends: [], whenEmpty: "drop" });
    await expect(change(aFrontend(), gone, neighbours)).toMatchFileSnapshot("golden/change-last-endpoint-gone.rules");
  });
  test("the first endpoint: translated first, then refused no more", async () => {
    const none = aFrontend({ backends: [], whenEmpty: "drop" });
    await expect(change(none, aFrontend(), neighbours)).toMatchFileSnapshot("golden/change-first-endpoint.rules");
  });
  test("a source range comes: refused first, then translated for some only", async () => {
    await expect(change(aBalancer(), aBalancer({ sourceRanges: ["198.51.100.0/24"] }))).toMatchFileSnapshot(
      "golden/change-source-range.rules",
    );
  });
  test("the first node port brings its jumps, the last one takes them away", async () => {
    await expect(change(undefined, aNodePort())).toMatchFileSnapshot("golden/change-first-node-port.rules");
    await expect(change(aNodePort(), undefined)).toMatchFileSnapshot("golden/change-last-node-port.rules");
  });
  test("what means the same to the kernel writes nothing", () => {
    expect(change(aFrontend(), aFrontend({ draining: [{ address: "172.30.0.7", port: 8080 }] }))).toBe("");
    expect(change(aNodePort(), aNodePort({ scheduler: "lc" }))).toBe("");
  });
});

describe("words", () => {
  const unchecked: object = { protocol: "ICMP" };
  test.for<[string, Partial<Frontend>]>([
    ["an address that is none", { address: "10.96.0.10 -j ACCEPT" }],
    ["an endpoint that is none", { backends: [to("172.30.0.2\nCOMMIT")] }],
    ["a quote in a name", { id: 'default/web" -j ACCEPT' }],
    ["a new line in a name", { id: "default/web\n-X" }],
    ["a port out of range", { port: 65_536 }],
    ["a port that is no whole number", { backends: [to("172.30.0.2", 80.5)] }],
    ["a timeout out of range", { affinitySeconds: 0 }],
    ["a source range that is none", { scope: "loadBalancer", address: "203.0.113.1", sourceRanges: ["0.0.0.0/0 -j ACCEPT"] }],
    ["a node port out of range", { scope: "nodePort", address: "", port: 0 }],
    ["a protocol that is none", unchecked],
    ["no weight", { backends: [to("172.30.0.2", 80, { weight: 0 }), to("172.30.0.3")] }],
    ["a weight that is no whole number", { backends: [to("172.30.0.2", 80, { weight: 1.5 })] }],
    ["no weight where clients stay with their endpoint", { affinitySeconds: 10, backends: [to("172.30.0.2", 80, { weight: 0 })] }],
    ["a weight that is no number", { backends: [to("172.30.0.2", 80, { weight: NaN })] }],
  ])("%s is refused before the first piece of the text is asked for", ([, more]) => {
    expect(() => planSync(rulesFor([aFrontend(more)]), nothing, "1")).toThrow(/will not be written/);
  });

  test.for<[string, Frontend, IpFamily]>([
    ["IPv4", aBalancer({ address: "255.255.255.255", backends: [to("255.255.255.255", 65_535)] }), "IPv4"],
    [
      "IPv6",
      aSixFrontend({ scope: "loadBalancer", address: "ffff:eeee:dddd:cccc:bbbb:aaaa:9999:8888", backends: [to("fd30::2", 65_535)] }),
      "IPv6",
    ],
  ])("no chain name is longer than iptables allows: %s", ([, frontend, family]) => {
    const range = family === "IPv4" ? "255.255.0.0/16" : "ffff:eeee:dddd:cccc::/64";
    const far = { ...frontend, port: 65_535, affinitySeconds: 1, protocol: "SCTP" as const, sourceRanges: [range] };
    const many = Array.from({ length: 200 }, (_, i) => ({
      ...far,
      id: `default/n${i}`,
      address: family === "IPv4" ? `255.255.254.${i}` : `ffff:eeee:dddd:cccc:bbbb:${i.toString(16)}:aaaa:ffff`,
    }));
    const local = { ...far, outside: { backends: far.backends, whenEmpty: "drop" as const } };
    const node = { ...local, scope: "nodePort" as const, address: "", sourceRanges: undefined };
    const names = [...text([local, node, ...many], host, family).matchAll(/^:(\S+) /gm)].map(([, chain = ""]) => chain);
    expect(names.length).toBeGreaterThan(200);
    expect(names.filter((chain) => chain.length > 28)).toEqual([]);
  });
});
