import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  contains,
  endpointAddressFault,
  endpointPrefixFault,
  formatCidr,
  formatIp,
  overlaps,
  parseCidr,
  parseIp,
  prefixOf,
  sizeOf,
  type Ip,
} from "./ip.ts";

describe("addresses", () => {
  test.for([
    ["10.0.0.1", "10.0.0.1"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["2001:DB8::0:1", "2001:db8::1"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"],
    ["::ffff:10.0.0.1", "::ffff:a00:1"],
  ])("%s is read and written as %s", ([text = "", canonical]) => {
    const ip = parseIp(text);
    expect(ip && formatIp(ip)).toBe(canonical);
  });

  test.for([
    "",
    "10.0.0",
    "10.0.0.256",
    "010.0.0.1",
    "10.0.0.1 ",
    "10.0.0.1/8",
    "1::2::3",
    ":::",
    "12345::",
    "fe80::1%eth0",
    "::10.0.0.256",
    "1:2:3:4:5:6:7",
    "10.0.0.1\n",
    "٣.0.0.1",
  ])("%j is no address", (text) => {
    expect(parseIp(text)).toBeUndefined();
  });

  const anyIp = fc.oneof(
    fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }).map((value): Ip => ({ family: "IPv4", value })),
    fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((value): Ip => ({ family: "IPv6", value })),
  );

  test("what is written is read back as the same address", () => {
    fc.assert(
      fc.property(anyIp, (ip) => {
        expect(parseIp(formatIp(ip))).toEqual(ip);
      }),
    );
  });

  test("a prefix holds the address that it was made of, and prefixes that share an address overlap", () => {
    fc.assert(
      fc.property(anyIp, fc.nat(32), fc.nat(32), (ip, a, b) => {
        const [one, other] = [prefixOf(ip, a), prefixOf(ip, b)];
        expect(contains(one, ip)).toBe(true);
        expect(overlaps(one, other)).toBe(true);
        expect(parseCidr(formatCidr(one))).toEqual(one);
      }),
    );
  });
});

describe("prefixes", () => {
  test.for(["10.96.0.0", "10.96.0.1/16", "10.96.0.0/33", "10.96.0.0/016", "fd00::/129", "fd00::1/64", "/8", "10.0.0.0/-1"])(
    "%j is no prefix",
    (text) => {
      expect(parseCidr(text)).toBeUndefined();
    },
  );

  test("their size counts all addresses", () => {
    const cidr = parseCidr("10.96.0.0/16");
    expect(cidr && sizeOf(cidr)).toBe(65_536n);
  });
});

describe("addresses that nothing may be balanced to", () => {
  test.for([
    ["127.0.0.1", "loopback"],
    ["169.254.169.254", "link-local"],
    ["224.0.0.1", "multicast"],
    ["0.1.2.3", "unspecified"],
    ["255.255.255.255", "reserved"],
    ["::1", "loopback"],
    ["::ffff:127.0.0.1", "IPv4-mapped"],
    ["fe80::1", "link-local"],
    ["ff02::1", "multicast"],
    ["web", "must be an IPv4 or IPv6 address"],
  ])("%s: %s", ([text = "", why = ""]) => {
    expect(endpointAddressFault(text)).toContain(why);
  });

  test.for<[string, string | undefined]>([
    ["127.0.0.0/8", "loopback"],
    ["126.0.0.0/7", "loopback"],
    ["0.0.0.0/0", "unspecified"],
    ["169.254.1.0/24", "link-local"],
    ["::/0", "unspecified"],
    ["fc00::/6", "link-local"],
    ["10.200.0.0/16", undefined],
    ["fd30::/64", undefined],
  ])("the prefix %s: %s", ([text, why]) => {
    const cidr = parseCidr(text);
    expect(cidr).toBeDefined();
    const fault = cidr && endpointPrefixFault(cidr);
    if (why === undefined) expect(fault).toBeUndefined();
    else expect(fault).toContain(why);
  });

  test.for(["10.0.0.1", "192.168.56.11", "fd30::1", "2001:db8::1"])("%s is fine", (text) => {
    expect(endpointAddressFault(text)).toBeUndefined();
  });
});
