import { describe, expect, test } from "vitest";
import type { Frontend } from "#agent/compile/table.ts";
import { aBackend, aCompiled, aFrontend as anEmptyFrontend, aHostTable, aTable } from "#test/tables.ts";
import { parseListing } from "./listing.ts";
import { applyChanges, planSync, ruleTreesOf } from "./plan.ts";

const host = aHostTable({ nodeIps: ["172.30.0.1"], localCidrs: ["10.200.1.0/24"] });

const to = aBackend;
const aFrontend = (more: Partial<Frontend> = {}): Frontend => anEmptyFrontend({ backends: [to("172.30.0.2"), to("172.30.0.3")], ...more });

const nothing = { nat: parseListing(""), filter: parseListing("") };
const tableOf = (frontends: readonly Frontend[], of = host) =>
  aTable(
    frontends.map((frontend) => aCompiled([frontend], frontend.id)),
    of,
  );
const text = (frontends: readonly Frontend[], of = host): string => planSync(ruleTreesOf(tableOf(frontends, of), "1"), nothing);

describe("the whole text", () => {
  test.for([
    { name: "clusterip-two-endpoints", frontends: [aFrontend()] },
    {
      name: "no-endpoints",
      frontends: [aFrontend({ backends: [] }), aFrontend({ id: "default/dns", protocol: "UDP", port: 53, backends: [] })],
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
  ])("$name", async ({ name, frontends }) => {
    await expect(text(frontends)).toMatchFileSnapshot(`golden/${name}.rules`);
    expect(text(frontends.toReversed())).toBe(text(frontends));
  });

  test("masquerade-all", async () => {
    await expect(text([], { ...host, masqueradeAll: true })).toMatchFileSnapshot("golden/masquerade-all.rules");
  });

  test("IPv6 frontends and ranges are left to a driver of theirs", () => {
    const six = aFrontend({ id: "default/six", family: "IPv6", address: "fd10::10", backends: [to("fd30::2")] });
    expect(text([aFrontend(), six], { ...host, serviceCidrs: ["10.96.0.0/16", "fd10::/112"] })).toBe(text([aFrontend()]));
  });
});

describe("the text of a change", () => {
  const rules = () => ruleTreesOf(tableOf([aFrontend(), aFrontend({ id: "default/api", address: "10.96.7.1" })]), "1");
  const change = (previous: Frontend | undefined, next: Frontend | undefined): string => {
    const held = rules();
    planSync(held, nothing);
    return applyChanges(held, [{ previous, next }], "2");
  };

  test("another endpoint writes one leaf", async () => {
    await expect(change(aFrontend(), aFrontend({ backends: [to("172.30.0.9")] }))).toMatchFileSnapshot("golden/change-endpoint.rules");
  });
  test("the last endpoint gone: refused first, then translated no more", async () => {
    await expect(change(aFrontend(), aFrontend({ backends: [] }))).toMatchFileSnapshot("golden/change-last-endpoint-gone.rules");
  });
  test("a service gone takes its branch with it", async () => {
    await expect(change(aFrontend(), undefined)).toMatchFileSnapshot("golden/change-service-gone.rules");
  });
  test("what means the same to the kernel writes nothing", () => {
    expect(change(aFrontend(), aFrontend({ draining: [{ address: "172.30.0.7", port: 8080 }] }))).toBe("");
  });
});

describe("words", () => {
  test.for<[string, Partial<Frontend>]>([
    ["an address that is none", { address: "10.96.0.10 -j ACCEPT" }],
    ["an endpoint that is none", { backends: [to("172.30.0.2\nCOMMIT")] }],
    ["a quote in a name", { id: 'default/web" -j ACCEPT' }],
    ["a new line in a name", { id: "default/web\n-X" }],
    ["a port out of range", { port: 65_536 }],
    ["a port that is no whole number", { backends: [to("172.30.0.2", 80.5)] }],
    ["a timeout out of range", { affinitySeconds: 0 }],
  ])("%s is refused, and nothing is written", ([, more]) => {
    expect(() => text([aFrontend(more)])).toThrow(/will not be written/);
  });

  test("no chain name is longer than iptables allows", () => {
    const far = aFrontend({
      address: "255.255.255.255",
      port: 65_535,
      affinitySeconds: 1,
      protocol: "SCTP",
      backends: [to("255.255.255.255", 65_535)],
    });
    for (const [, chain = ""] of text([far]).matchAll(/^:(\S+) /gm)) expect(chain.length).toBeLessThanOrEqual(28);
  });

  test.for([
    ["10.0.0.0/8", 5],
    ["10.96.0.0/12", 4],
    ["10.96.0.0/16", 3],
    ["10.96.0.0/18", 3],
    ["10.96.0.0/24", 1],
    ["10.96.0.0/28", 0],
  ] as const)("a range %s hangs %i levels deep", ([cidr, levels]) => {
    const address = cidr.replace("0/", "1/").replace(/\/.*/, "");
    const chains = [...text([aFrontend({ address })], { ...host, serviceCidrs: [cidr] }).matchAll(/^:(FL-\d\S+) /gm)];
    expect(chains).toHaveLength(levels);
  });
});
