import { expect, test } from "vitest";
import { gatewaysOf, IpAddressJson, IpRouteJson, networkOf, overlappingRoute, reservedOf } from "./network.ts";

const at = (ifname: string, ...addresses: string[]) => ({
  ifname,
  addr_info: addresses.map((text) => ({ local: text.split("/")[0], prefixlen: Number(text.split("/")[1]) })),
});
const host = IpAddressJson.parse([
  at("lo", "127.0.0.1/8", "::1/128", "10.96.0.10/32"),
  at("eth0", "192.168.56.11/24", "fe80::1/64", "fd00::11/64"),
  at("eth1", "10.1.0.11/16"),
  at("docker0", "172.17.0.1/16"),
  at("br-0123456789ab", "172.18.0.1/16"),
  at("vmbr0", "10.2.0.11/16"),
  at("veth12", "169.254.7.7/16"),
  at("fairlead0", "10.96.0.10/32"),
]);
const options = { serviceCidrs: ["10.96.0.0/16"] };

test("its addresses are those by which others reach it: no loopback, link-local, container bridge or virtual IP", () => {
  expect(networkOf(host, options).addresses).toEqual(["192.168.56.11", "10.1.0.11", "10.2.0.11", "fd00::11"]);
});

test("the address that the way to the server begins at comes first", () => {
  expect(networkOf(host, { ...options, first: "10.1.0.11" }).addresses[0]).toBe("10.1.0.11");
});

test("the prefixes of container bridges are told apart from those of the host", () => {
  const { containerCidrs, localCidrs } = networkOf(host, options);
  expect(containerCidrs).toEqual(["172.17.0.0/16", "172.18.0.0/16"]);
  expect(localCidrs).toContain("192.168.56.0/24");
  expect(localCidrs).toContain("172.17.0.0/16");
});

test("an address that a Service has is not the host's own, unless the way to the server begins there", () => {
  const claimed = new Set(["10.1.0.11", "fd00::11", "192.168.56.11"]);
  const isClaimed = (address: string): boolean => claimed.has(address);
  const { addresses, localCidrs } = networkOf(host, { ...options, first: "192.168.56.11", isClaimed });
  expect(addresses).toEqual(["192.168.56.11", "10.2.0.11"]);
  expect(localCidrs).not.toContain("10.1.0.0/16");
});

test("gateways and name servers of the host are nobody's to take; its own stubs need no care", () => {
  const routes = IpRouteJson.parse([
    { dst: "default", gateway: "10.1.0.1" },
    { dst: "default", nexthops: [{ gateway: "10.2.0.1" }, { dev: "wg0" }] },
    { dst: "default", via: { family: "inet6", host: "fe80::1" } },
    { dst: "10.5.0.0/16", gateway: "10.1.0.9" },
    { dst: "default", dev: "ppp0" },
  ]);
  const gateways = gatewaysOf(routes);
  expect(gateways).toEqual(["10.1.0.1", "10.2.0.1", "fe80::1"]);
  expect(reservedOf(gateways, ["127.0.0.53", "10.1.0.1", "192.168.1.1", "fe80::1%eth0"])).toEqual([
    { address: "10.1.0.1", why: "it is a gateway of this host" },
    { address: "10.2.0.1", why: "it is a gateway of this host" },
    { address: "192.168.1.1", why: "it is a name server of this host" },
    { address: "fe80::1", why: "it is a gateway of this host" },
  ]);
});

const rows = [
  {
    name: "a connected network within the range",
    dst: "10.96.4.0/24",
    dev: "eth1",
    want: "10.96.0.0/16 overlaps the route 10.96.4.0/24 dev eth1",
  },
  {
    name: "a wider route",
    dst: "10.0.0.0/8",
    dev: "eth0",
    gateway: "192.168.56.1",
    want: "10.96.0.0/16 overlaps the route 10.0.0.0/8 via 192.168.56.1 dev eth0",
  },
  { name: "a route to one host", dst: "10.96.1.1", dev: "wg0", want: "10.96.0.0/16 overlaps the route 10.96.1.1 dev wg0" },
  { name: "the default route does not count", dst: "default", dev: "eth0", want: undefined },
  { name: "a route elsewhere does not count", dst: "10.97.0.0/16", dev: "eth0", want: undefined },
  { name: "our own DNS address on lo does not count", dst: "10.96.0.10", dev: "lo", want: undefined },
];
test.for(rows)("$name", ({ want, name: _, ...route }) => {
  expect(overlappingRoute(IpRouteJson.parse([{ dst: "default" }, route]), ["10.96.0.0/16"])).toBe(want);
});
