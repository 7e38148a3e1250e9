import fc from "fast-check";
import { expect, test } from "vitest";
import { formatCidr, formatIp, overlaps, parseCidr, prefixOf, type Cidr } from "#proto/ip.ts";
import type { Route } from "#agent/dataplane/route-edge.ts";
import type { Announced } from "./announced.ts";
import { verdictOn, type Ground } from "./verdict.ts";

function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  if (!cidr) throw new Error(text);
  return cidr;
}
const announced = (text = "10.201.1.0/24", hops: readonly string[] = ["192.168.56.11"]): Announced => ({
  node: "h1",
  text,
  cidr: cidrOf(text),
  hops,
});
const LAN: readonly Route[] = [
  { dst: "default", gateway: "192.168.56.1", dev: "eth0" },
  { dst: "192.168.56.0/24", dev: "eth0", protocol: "kernel" },
];
const ground = (more: Partial<Ground> = {}): Ground => ({
  others: LAN,
  network: { localCidrs: ["192.168.56.0/24"], reserved: [{ address: "10.9.0.53", why: "it is a name server of this host" }] },
  serviceCidrs: ["10.96.0.0/16"],
  ...more,
});

test("a neighbour's network is routed by its address, over the link that it is on", () => {
  expect(verdictOn(announced(), ground())).toEqual({
    kind: "route",
    route: { destination: "10.201.1.0/24", hop: "192.168.56.11", dev: "eth0" },
  });
});

test("of several addresses of the host the first one counts that is a neighbour", () => {
  const one = announced("10.201.1.0/24", ["10.7.0.11", "192.168.56.11"]);
  expect(verdictOn(one, ground())).toMatchObject({ kind: "route", route: { hop: "192.168.56.11" } });
});

test("the most exact way to a neighbour counts, and of two alike the one with the smaller metric", () => {
  const others: readonly Route[] = [...LAN, { dst: "192.168.56.0/24", dev: "eth9", metric: 600 }, { dst: "192.168.56.11", dev: "tun0" }];
  expect(verdictOn(announced(), ground({ others }))).toMatchObject({ route: { dev: "tun0" } });
  expect(verdictOn(announced("10.201.1.0/24", ["192.168.56.12"]), ground({ others }))).toMatchObject({ route: { dev: "eth0" } });
});

test("somebody's own route to the same host will do", () => {
  for (const dst of ["10.201.1.0/24", "10.201.0.0/16"])
    expect(verdictOn(announced(), ground({ others: [...LAN, { dst, gateway: "192.168.56.11", dev: "eth0" }] }))).toEqual({ kind: "led" });
});

const refusals: readonly { readonly name: string; readonly one?: Announced; readonly on?: Partial<Ground>; readonly why: string }[] = [
  {
    name: "Docker has the same here",
    one: announced("172.17.0.0/16"),
    on: { network: { localCidrs: ["172.17.0.0/16"], reserved: [] } },
    why: "this host's own network 172.17.0.0/16 overlaps it",
  },
  {
    name: "a bridge whose link is down has its route still",
    one: announced("172.17.0.0/16"),
    on: { others: [...LAN, { dst: "172.17.0.0/24", dev: "docker0", flags: ["linkdown"] }] },
    why: "this host's route 172.17.0.0/24 dev docker0 overlaps it",
  },
  {
    name: "a route of somebody else's that is wider",
    on: { others: [...LAN, { dst: "10.0.0.0/8", gateway: "192.168.56.9", dev: "eth0" }] },
    why: "this host's route 10.0.0.0/8 via 192.168.56.9 dev eth0 overlaps it",
  },
  {
    name: "a route to one host in it",
    on: { others: [...LAN, { dst: "10.201.1.7", dev: "wg0" }] },
    why: "this host's route 10.201.1.7 dev wg0 overlaps it",
  },
  {
    name: "the same host's, of which only a part is led",
    on: { others: [...LAN, { dst: "10.201.1.0/25", gateway: "192.168.56.11", dev: "eth0" }] },
    why: "this host's route 10.201.1.0/25 via 192.168.56.11 dev eth0 overlaps it",
  },
  { name: "a name server is in it", one: announced("10.9.0.0/24"), why: "it holds 10.9.0.53: it is a name server of this host" },
  { name: "virtual IPs", one: announced("10.96.1.0/24"), why: "it overlaps the range of virtual IPs (10.96.0.0/16)" },
  {
    name: "the default route, from a disk that somebody wrote",
    one: announced("0.0.0.0/0"),
    why: "it may not overlap the unspecified range",
  },
  {
    name: "a host behind a router",
    one: announced("10.201.1.0/24", ["10.7.0.11"]),
    why: "no address of h1 (10.7.0.11) is in a network of this host",
  },
  { name: "a host without an address of the family", one: announced("fd00:1::/64", []), why: "h1 has no IPv6 address" },
  { name: "an address that is this host's own", on: { others: [{ dst: "192.168.56.11", dev: "lo" }] }, why: "no address of h1" },
];
test.for(refusals)("nothing is taken from this host: $name", ({ one = announced(), on = {}, why }) => {
  expect(verdictOn(one, ground(on))).toMatchObject({ kind: "refused", why: expect.stringContaining(why) as string });
});

test("no route of ours ever overlaps what this host has, whatever is announced", () => {
  const cidr = fc
    .tuple(fc.bigInt({ min: 0n, max: 0xffff_ffffn }), fc.integer({ min: 8, max: 32 }))
    .map(([value, prefix]) => prefixOf({ family: "IPv4", value }, prefix));
  fc.assert(
    fc.property(cidr, fc.array(cidr, { maxLength: 6 }), fc.array(cidr, { maxLength: 4 }), (wanted, foreign, local) => {
      const others = [
        ...LAN,
        ...foreign.map((one) => ({
          dst: one.prefix === 32 ? formatIp({ family: "IPv4", value: one.base }) : formatCidr(one),
          dev: "eth1",
        })),
      ];
      const network = { localCidrs: local.map(formatCidr), reserved: [] };
      const verdict = verdictOn(announced(formatCidr(wanted)), ground({ others, network }));
      if (verdict.kind === "route")
        for (const taken of [...foreign, ...local, cidrOf("10.96.0.0/16"), cidrOf("192.168.56.0/24"), cidrOf("127.0.0.0/8")])
          expect(overlaps(taken, wanted)).toBe(false);
    }),
  );
});
