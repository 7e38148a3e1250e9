import { expect, test } from "vitest";
import { inRoutes, inTrie } from "./proc.ts";

test("what is local of IPv4: leaves with a line for each length, as /proc/net/fib_trie has them", () => {
  const text = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.96.0.0/13 2 0 2
        |-- 10.96.0.0
           /16 host LOCAL
        |-- 10.200.1.0
           /24 link UNICAST
           /32 host LOCAL
     |-- 198.18.0.1
        /32 host LOCAL
`;
  expect(inTrie(text)).toEqual(["10.96.0.0/16", "10.200.1.0", "198.18.0.1"]);
});

test("what is local of IPv6, by our device: as /proc/net/ipv6_route has it", () => {
  const none = "00000000000000000000000000000000";
  const line = (to: string, length: string, flags: string, device: string): string =>
    `${to} ${length} ${none} 00 ${none} 00000400 00000001 00000000 ${flags} ${device.padStart(8)}\n`;
  const text = [
    line("fd000010009600000000000000000000", "70", "80200001", "fairlead0"),
    line("fd300000000000000000000000000099", "80", "80200001", "fairlead0"),
    line("fd300000000000000000000000000000", "40", "00000001", "fairlead0"),
    line("fd300000000000000000000000000001", "80", "80200001", "eth0"),
  ].join("");
  expect(inRoutes(text)).toEqual(["fd00:10:96::/112", "fd30::99"]);
});
