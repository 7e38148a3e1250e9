import { expect, test } from "vitest";
import { bridgeSubnets } from "./bridges.ts";
import { Network } from "./container.ts";

const aNetwork = (more: object) => Network.parse({ Id: "n", Name: "n", Driver: "bridge", ...more });
const subnets = (...all: string[]) => ({ Config: all.map((Subnet) => ({ Subnet })) });

const rows = [
  { name: "both families of a bridge", network: { IPAM: subnets("172.17.0.0/16", "FD00:1::/64") }, want: ["172.17.0.0/16", "fd00:1::/64"] },
  { name: "the network host has none", network: { Driver: "host", IPAM: { Config: null } }, want: [] },
  { name: "macvlan is of the LAN already", network: { Driver: "macvlan", IPAM: subnets("192.168.1.0/24") }, want: [] },
  { name: "an internal one is closed on purpose", network: { Internal: true, IPAM: subnets("172.18.0.0/16") }, want: [] },
  { name: "Swarm's own", network: { Name: "docker_gwbridge", IPAM: subnets("172.18.0.0/16") }, want: [] },
  {
    name: "an isolated one",
    network: { Options: { "com.docker.network.bridge.gateway_mode_ipv4": "isolated" }, IPAM: subnets("172.18.0.0/16") },
    want: [],
  },
  { name: "what is no prefix", network: { Options: null, IPAM: subnets("", "x") }, want: [] },
];
test.for(rows)("$name", ({ network, want }) => {
  expect(bridgeSubnets([aNetwork(network)])).toEqual(want);
});
