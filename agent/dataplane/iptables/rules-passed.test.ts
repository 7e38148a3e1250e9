import { expect, test } from "vitest";
import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { wholeText } from "../tool-input.ts";
import { parseListing } from "./listing.ts";
import { planSync, rulesOf } from "./plan.ts";

/** The last of 10,000 must not wait for the others: what a packet passes, in the worst case and wherever the addresses are. */

const nothing = { nat: parseListing({ prefix: "FL-" }, ""), filter: parseListing({ prefix: "FL-" }, "") };
const host = aHostTable({ serviceCidrs: ["10.96.0.0/16", "fd10::/64"] });
const scattered = (i: number): number => Math.imul(i + 1, 0x9e3779b1) >>> 0;
const v4 = (n: number): string => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");

test.for([
  { name: "virtual IPs in a row", family: "IPv4", scope: "cluster", root: "FL-SERVICES", at: (i: number) => v4(0x0a60_0001 + i) },
  {
    name: "virtual IPs anywhere in their range",
    family: "IPv4",
    scope: "cluster",
    root: "FL-SERVICES",
    at: (i: number) => v4(0x0a60_0000 + ((i * 26_407 + 11) & 0xffff)),
  },
  { name: "external IPs anywhere", family: "IPv4", scope: "external", root: "FL-EXTERNAL", at: (i: number) => v4(scattered(i)) },
  {
    name: "load balancers of IPv6 anywhere",
    family: "IPv6",
    scope: "loadBalancer",
    root: "FL-EXTERNAL",
    at: (i: number) => `2001:db8:${(scattered(i) >>> 16).toString(16)}:${(scattered(i) & 0xffff).toString(16)}::1`,
  },
] as const)("thousands of $name: at most 64 rules", ({ family, scope, root, at }) => {
  const backends = family === "IPv4" ? [aBackend("172.30.0.2"), aBackend("172.30.0.3")] : [aBackend("fd30::2"), aBackend("fd30::3")];
  const count = family === "IPv6" ? 2_000 : 10_000;
  const addresses = [...new Set(Array.from({ length: count }, (_, i) => at(i)))].filter((address) => parseIp(address));
  expect(addresses.length).toBeGreaterThan(count * 0.99);
  const services = addresses.map((address, i) =>
    aCompiled([aFrontend({ id: `default/s${i}`, family, scope, address, backends })], `default/s${i}`),
  );
  const text = wholeText(planSync(rulesOf(aTable(services, host), { family }), nothing, "1"));
  const chains = new Map<string, string[]>();
  for (const [, chain = "", rule = ""] of text.slice(text.indexOf("*nat")).matchAll(/^-A (\S+) (.*)$/gm)) chains.set(chain, [...(chains.get(chain) ?? []), rule]); // prettier-ignore
  const passed = (address: string): number => {
    const ip = parseIp(address);
    let count = 0;
    for (let chain: string | undefined = root; chain !== undefined;) {
      const rules: string[] = chains.get(chain) ?? [];
      chain = undefined;
      for (const rule of rules) {
        count++;
        const cidr = parseCidr(/-d (\S+)/.exec(rule)?.[1] ?? "");
        if (!ip || !cidr || !contains(cidr, ip) || rule.includes("--probability")) continue;
        chain = / -[jg] (FL-\S+)$/.exec(rule)?.[1];
        break;
      }
    }
    return count;
  };
  expect(Math.max(...addresses.filter((_, i) => i % 7 === 0).map(passed))).toBeLessThanOrEqual(64);
});
