import { expect, test } from "vitest";
import type { CompiledService, Frontend } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { heldOf } from "./held.ts";
import { planSync } from "./plan.ts";

const host = aHostTable({ serviceCidrs: ["10.96.0.0/16", "fd00:10:96::/112"], nodeIps: ["172.30.0.1"], localCidrs: ["10.200.1.0/24"] });
const B = aBackend("172.30.0.2");
const C = aBackend("172.30.0.3");
const FAR_APART = [{ ...B, weight: 65_535 }, C, ...["172.30.0.4", "172.30.0.5"].map((address) => aBackend(address))];

function textOf(services: readonly CompiledService[], family: IpFamily = "IPv4"): string {
  return planSync(heldOf(aTable(services, host), family, { liberal: false }), { isCurrent: false, chains: [] }, "0x1 . 0x1");
}

/** What a service adds to the table without any. */
function added(frontends: readonly Frontend[]): string {
  const fixed = new Set(textOf([]).split("\n"));
  return textOf([aCompiled(frontends)]).split("\n").filter((line) => !fixed.has(line)).join("\n"); // prettier-ignore
}

test.for(["IPv4", "IPv6"] as const)("the table without services: %s", async (family) => {
  await expect(textOf([], family)).toMatchFileSnapshot(`golden/empty-${family}.nft`);
});

const cases: readonly (readonly [string, readonly Frontend[]])[] = [
  ["clusterip-two-endpoints", [aFrontend({ backends: [B, C] })]],
  ["weights", [aFrontend({ backends: [B, { ...C, weight: 3 }] })]],
  ["weights-far-apart", [aFrontend({ backends: FAR_APART }), aFrontend({ port: 81, backends: FAR_APART, affinitySeconds: 60 })]],
  ["affinity", [aFrontend({ backends: [B, C], affinitySeconds: 60 })]],
  ["no-endpoints", [aFrontend(), aFrontend({ port: 81, whenEmpty: "drop" })]],
  [
    "node-port-policy-local",
    [aFrontend({ scope: "nodePort", address: "", port: 30_080, backends: [B], outside: { backends: [], whenEmpty: "drop" } })],
  ],
  ["load-balancer-ranges", [aFrontend({ scope: "loadBalancer", address: "203.0.113.5", sourceRanges: ["172.30.0.0/16"], backends: [B] })]],
  [
    "external",
    [
      aFrontend({ scope: "external", address: "198.51.100.1", backends: [B] }),
      aFrontend({ scope: "external", address: "198.51.100.1", port: 81 }),
    ],
  ],
  ["local-elsewhere", [aFrontend({ backends: [{ ...B, isLocal: true }] })]],
];

test.for(cases)("%s", async ([name, frontends]) => {
  await expect(added(frontends)).toMatchFileSnapshot(`golden/${name}.nft`);
});

test("a word that is none is not written", () => {
  expect(() => textOf([aCompiled([aFrontend({ address: "10.96.0.1; flush ruleset", backends: [B] })])])).toThrow("is no address");
  expect(() => textOf([aCompiled([aFrontend({ id: 'x" } ; flush ruleset', backends: [B] })])])).toThrow("is no service id");
  expect(() => textOf([aCompiled([aFrontend({ port: 0, backends: [B] })])])).toThrow("is no port");
});
