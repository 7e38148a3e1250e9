import { expect, test } from "vitest";
import { AllowedSources } from "./sources.ts";

const sources = new AllowedSources(["10.96.0.10", "fd10::a"], ["192.0.2.0/24", "fd00:1::/64"]);
const everybody = new AllowedSources([], ["0.0.0.0/0", "::/0"]);

test.for([
  ["loopback", "127.0.0.1", true],
  ["its IPv6", "::1", true],
  ["an address of ours", "10.96.0.10", true],
  ["one of our networks", "192.0.2.7", true],
  ["the same, as a socket of both families says it", "::ffff:192.0.2.7", true],
  ["with the device that it came by", "fd00:1::7%eth0", true],
  ["a stranger", "198.51.100.1", false],
  ["a stranger's IPv6", "2001:db8::1", false],
  ["no address", "localhost", false],
] as const)("%s: %s may ask: %s", ([, address, allowed]) => {
  expect(sources.allows(address)).toBe(allowed);
  expect(sources.allows(address)).toBe(allowed); // as remembered
});

test.for(["224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1", "::ffff:224.0.0.1"])(
  "%s is nobody's address, whatever is allowed: the answer would go to many",
  (address) => {
    expect(everybody.allows("198.51.100.1")).toBe(true);
    expect(everybody.allows(address)).toBe(false);
  },
);
