import fc from "fast-check";
import { expect, test } from "vitest";
import { overlaps, parseCidr, type Cidr } from "#proto/ip.ts";
import { parseObject } from "#proto/parse.ts";
import { dockerAdvice } from "./docker-pools.ts";
import { createNodeNetworks } from "./node-networks.ts";
import { virtualRanges } from "./ranges.ts";

const cidr = (text: string): Cidr => {
  const parsed = parseCidr(text);
  if (!parsed) throw new Error(text);
  return parsed;
};
const ranges = virtualRanges({ serviceCidrs: ["10.240.0.0/16"], dnsIps: [] });
const poolIn = (text: string): string => /"base":"([^"]+)"/.exec(text)?.[1] ?? "";

function networksOf(hosts: Readonly<Record<string, readonly string[]>>) {
  const networks = createNodeNetworks();
  for (const [name, podCIDRs] of Object.entries(hosts))
    networks.put(parseObject("Node", { apiVersion: "v1", kind: "Node", metadata: { name }, spec: { podCIDRs } }));
  return networks;
}

test("the network that Docker makes on every host is refused with what to write instead", () => {
  const text = dockerAdvice("h2", cidr("172.17.0.0/16"), { ranges, networks: networksOf({ h1: ["172.17.0.0/16"] }) });
  expect(text).toMatch(
    /^; if it is Docker's: give each host's Docker addresses of its own, on h2 for example \{"bip":"10\.2\d\d\.\d+\.1\/24","default-address-pools":\[\{"base":"10\.2\d\d\.\d+\.0\/20","size":24\}\]\} in \/etc\/docker\/daemon\.json, then restart Docker/,
  );
});

test("of a network that somebody chose nothing is said of Docker", () => {
  expect(dockerAdvice("h2", cidr("10.1.0.0/24"), { ranges, networks: networksOf({}) })).toBe("");
});

test("the addresses that are proposed are no other host's and no service's", () => {
  const block = fc.integer({ min: 0, max: 895 }).map((n) => `10.${200 + Math.floor(n / 16)}.${(n % 16) * 16}.0/20`);
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.array(block, { maxLength: 40 }), (host, others) => {
      const found = cidr(poolIn(dockerAdvice(host, cidr("172.17.0.0/16"), { ranges, networks: networksOf({ other: others }) })));
      for (const other of ["10.240.0.0/16", ...others]) expect(overlaps(found, cidr(other))).toBe(false);
    }),
  );
});
