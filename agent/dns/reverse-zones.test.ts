import { expect, test } from "vitest";
import { keyOfName, parentOf } from "./name.ts";
import { reverseZonesOf } from "./reverse-zones.ts";
import { ZoneIndex } from "./zone.ts";

test.for<[string, number, string, string]>([
  ["10.96.0.0/16", 1, "96.10.in-addr.arpa", "96.10.in-addr.arpa"],
  ["10.96.0.0/14", 4, "96.10.in-addr.arpa", "99.10.in-addr.arpa"],
  ["10.96.16.0/20", 16, "16.96.10.in-addr.arpa", "31.96.10.in-addr.arpa"],
  ["10.96.0.240/28", 16, "240.0.96.10.in-addr.arpa", "255.0.96.10.in-addr.arpa"],
  ["fd10::/108", 1, `${"0.".repeat(23)}0.1.d.f.ip6.arpa`, `${"0.".repeat(23)}0.1.d.f.ip6.arpa`],
  ["fd10::/106", 4, `${"0.".repeat(23)}0.1.d.f.ip6.arpa`, `3.${"0.".repeat(22)}0.1.d.f.ip6.arpa`],
])("%s has %i reverse zones, from %s to %s", ([cidr, count, first, last]) => {
  const zones = reverseZonesOf(cidr);
  expect(zones).toHaveLength(count);
  expect([zones[0], zones.at(-1)]).toEqual([first, last]);
});

test("of a range that is cut through an octet, its addresses are ours, and those beside it are asked elsewhere", () => {
  const zone = new ZoneIndex({ domain: "cluster.local", serviceCidrs: ["10.96.16.0/20"], dnsIps: [] }, 1);
  const isOurs = (name: string): boolean => {
    const key = keyOfName(name) ?? "";
    const labels: number[] = [];
    for (let rest: string | undefined = key; rest !== undefined; rest = parentOf(rest)) labels.push(key.length - rest.length);
    return zone.zoneOf(key, labels) !== undefined;
  };
  expect(["1.16.96.10.in-addr.arpa", "200.31.96.10.in-addr.arpa"].map(isOurs)).toEqual([true, true]);
  expect(["1.15.96.10.in-addr.arpa", "1.32.96.10.in-addr.arpa", "96.10.in-addr.arpa"].map(isOurs)).toEqual([false, false, false]);
});
