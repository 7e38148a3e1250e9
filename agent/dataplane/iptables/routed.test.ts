import { expect, test } from "vitest";
import { aFrontend } from "#test/tables.ts";
import { parseListing } from "./listing.ts";
import { planOf } from "./routed.ts";
import { wordsOf } from "./words.ts";

const NOTHING = ":INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\n:DOCKER-USER -\n";

function textOf(table: "filter" | "raw", hosts: readonly string[], cidrs: readonly string[]): string {
  const words = wordsOf("IPv4", "routed");
  const { plan, tree } = planOf(words, { table, cidrs });
  tree.putAll(hosts.map((address) => aFrontend({ scope: "external", address, port: 1 })));
  return [...plan.whole(parseListing(words, NOTHING), "1")].join("");
}

test("hosts of the fleet are let in to the networks, and answers of these to whom they were let in", () => {
  expect(textOf("filter", ["192.168.56.12", "192.168.56.13"], ["10.201.1.0/24"])).toMatchInlineSnapshot(`
    "*filter
    :FLR-OURS - [0:0]
    :FLR-ANSWERS - [0:0]
    :FLR-CANARY - [0:0]
    :FLR-HOSTS - [0:0]
    -I FORWARD 1 -m conntrack --ctdir ORIGINAL -m comment --comment fairlead -j FLR-OURS
    -I FORWARD 2 -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -m comment --comment fairlead -j FLR-ANSWERS
    -I DOCKER-USER 1 -m conntrack --ctdir ORIGINAL -m comment --comment fairlead -j FLR-OURS
    -I DOCKER-USER 2 -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY -m comment --comment fairlead -j FLR-ANSWERS
    -A FLR-OURS -d 10.201.1.0/24 -j FLR-HOSTS
    -A FLR-OURS -m recent --rcheck --name FLR-filter-OURS-intact --mask 255.255.255.255 --rsource
    -A FLR-ANSWERS -s 10.201.1.0/24 -m conntrack --ctorigdst 10.201.1.0/24 -j ACCEPT
    -A FLR-CANARY -m recent --rcheck --name FLR-filter-1 --mask 255.255.255.255 --rsource
    -A FLR-HOSTS -s 192.168.56.12/32 -j ACCEPT
    -A FLR-HOSTS -s 192.168.56.13/32 -j ACCEPT
    COMMIT
    "
  `);
});

test("before conntrack, where Docker drops what was sent to a container's own address", () => {
  const text = textOf("raw", ["192.168.56.12"], ["10.201.1.0/24"]);
  expect(text).toContain("-I PREROUTING 1 -m comment --comment fairlead -j FLR-OURS");
  expect(text).not.toContain("conntrack");
});

test("with 16 networks and 200 hosts a packet passes at most 64 rules before it is let in, or is not", () => {
  const hosts = Array.from({ length: 200 }, (_, i) => `192.168.${56 + Math.floor(i / 100)}.${(i % 100) + 10}`);
  const cidrs = Array.from({ length: 16 }, (_, i) => `10.201.${i}.0/24`);
  const chains = new Map<string, string[]>();
  for (const [, chain = "", rule = ""] of textOf("filter", hosts, cidrs).matchAll(/^-A (\S+) (.*)$/gm))
    chains.set(chain, [...(chains.get(chain) ?? []), rule]);
  const longest = (chain: string): number =>
    (chains.get(chain) ?? []).reduce((most, rule, i) => {
      const target = /-[jg] (FLR-\S+)/.exec(rule)?.[1];
      return Math.max(most, i + 1 + (target === undefined ? 0 : longest(target)));
    }, 0);
  // One of the jumps into it is passed in FORWARD, and both again in DOCKER-USER by what is not let in.
  expect(2 + longest("FLR-OURS")).toBeLessThanOrEqual(64);
});
