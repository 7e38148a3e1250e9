import { expect, test } from "vitest";
import { parseAllowedRange } from "./allowed-range.ts";

test.for([
  ["192.168.7.0/24", "192.168.7.0/24"],
  ["10.0.0.0/8", "10.0.0.0/8"],
  ["192.168.7.9", "192.168.7.9/32"],
  ["FD00:7::/64", "fd00:7::/64"],
  ["fc00::/7", "fc00::/7"],
  ["fd00::9", "fd00::9/128"],
] as const)("%s may be let in", ([text, range]) => {
  expect(parseAllowedRange(text)).toBe(range);
});

test.for([
  ["0.0.0.0/0", /too wide/],
  ["128.0.0.0/1", /too wide/],
  ["::/0", /too wide/],
  ["2000::/3", /too wide/],
  ["192.168.7.1/24", /is no range/],
  ["192.168.7.0/33", /is no range/],
  ["fd00::/129", /is no range/],
  ["eth0", /is no range/],
  ["", /is no range/],
] as const)("%j is refused", ([text, why]) => {
  expect(() => parseAllowedRange(text)).toThrow(why);
});
