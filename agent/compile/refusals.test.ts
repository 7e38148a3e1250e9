import { describe, expect, test } from "vitest";
import { compileWeb, type Spec, type WebCase } from "#test/states.ts";

const ingress = [{ ip: "192.0.2.1" }];
const balanced = { type: "LoadBalancer" as const, ports: [{ name: "http", port: 80, nodePort: 30080 }] };
const dual = { clusterIPs: ["10.96.0.10", "fd10::10"], ipFamilies: ["IPv4", "IPv6"] as ("IPv4" | "IPv6")[] };

describe("who may connect to a load balancer's address", () => {
  const ranges = (texts: readonly string[], more: Partial<WebCase> = {}): (readonly string[] | undefined)[] =>
    (compileWeb({ spec: balanced, ingress, unchecked: { loadBalancerSourceRanges: texts }, ...more })?.frontends ?? [])
      .filter(({ scope }) => scope === "loadBalancer")
      .map(({ sourceRanges }) => sourceRanges);

  test.for([
    { name: "no ranges: everybody", texts: [], want: undefined },
    { name: "ranges may have white space, host bits and leading zeros", texts: [" 10.1.2.3/8 ", "\t192.000.002.0/24"], want: ["10.0.0.0/8", "192.0.2.0/24"] }, // prettier-ignore
    { name: "ranges within others and twice go", texts: ["10.1.0.0/16", "10.0.0.0/8", "10.0.0.0/8", "11.0.0.0/8"], want: ["10.0.0.0/8", "11.0.0.0/8"] }, // prettier-ignore
    { name: "0.0.0.0/0 means no limit", texts: ["10.0.0.0/8", "0.0.0.0/0"], want: undefined },
    { name: "ranges of the other family are ignored", texts: ["10.0.0.0/8", "2001:db8::/32", "::/0"], want: ["10.0.0.0/8"] },
    { name: "ranges of the other family alone let nobody in", texts: ["::/0"], want: [] },
    { name: "ranges that cannot be read let nobody in", texts: ["ten/8", "10.0.0.0/33"], want: [] },
    { name: "an address alone is a range of one", texts: ["10.1.2.3"], want: ["10.1.2.3/32"] },
    { name: "a range that holds this host is as it is: drivers let the address itself in", texts: ["172.30.0.0/24"], want: ["172.30.0.0/24"] }, // prettier-ignore
  ])("$name", ({ texts, want }) => {
    expect(ranges(texts)).toEqual([want]);
  });

  test("each family has its own", () => {
    const more = { spec: { ...balanced, ...dual }, ingress: [{ ip: "2001:db8::1" }], node: { addresses: ["fd30::1"] } };
    expect(ranges(["10.0.0.0/8", "fd30::/64"], more)).toEqual([["fd30::/64"]]);
    expect(ranges(["10.0.0.0/8", "::/0"], more)).toEqual([undefined]);
  });

  test("node ports and external addresses have no limit", () => {
    const spec: Spec = { ...balanced, externalIPs: ["198.51.100.7"], loadBalancerSourceRanges: ["10.0.0.0/8"] };
    expect(compileWeb({ spec, ingress })?.frontends.map(({ scope, sourceRanges }) => [scope, sourceRanges])).toEqual([
      ["cluster", undefined],
      ["external", undefined],
      ["loadBalancer", ["10.0.0.0/8"]],
      ["nodePort", undefined],
    ]);
  });
});

describe("addresses that this host does not serve", () => {
  const reservedAddresses = new Map([["192.0.2.254", "it is this host's gateway"]]);
  test.for([
    { name: "this host's own", ip: "172.30.0.1", why: "it is an address of this host itself" },
    { name: "its gateway", ip: "192.0.2.254", why: "it is this host's gateway" },
    { name: "one of the range of virtual IPs", ip: "10.96.7.7", why: "it is in the range of virtual IPs that the server allocates" },
    { name: "the DNS service's", ip: "10.96.0.2", why: "it is an address of the DNS service" },
    { name: "loopback", ip: "127.0.0.1", why: "it may not be in the loopback range (127.0.0.0/8)" },
    { name: "link-local", ip: "169.254.169.254", why: "it may not be in the link-local range (169.254.0.0/16)" },
    { name: "multicast", ip: "224.0.0.1", why: "it may not be in the multicast range (224.0.0.0/4)" },
    { name: "unspecified", ip: "0.0.0.0", why: "it may not be in the unspecified range (0.0.0.0/8)" },
    { name: "an IPv4 address in IPv6", ip: "::ffff:10.0.0.1", why: "it may not be in the IPv4-mapped range (::ffff:0:0/96)" },
    { name: "of a family that the service does not have", ip: "2001:db8::1", why: "the Service has no IPv6 address of its own" },
  ])("$name", ({ ip, why }) => {
    for (const one of [
      { spec: { externalIPs: [ip] } },
      { spec: { type: "LoadBalancer" as const }, ingress: [{ ip }] },
      { spec: { type: "LoadBalancer" as const, externalIPs: [ip] }, ingress: [{ ip }] },
    ]) {
      const service = compileWeb({ ...one, node: { reservedAddresses } });
      expect(service?.frontends.map(({ scope }) => scope)).toEqual(["cluster"]);
      expect(service?.refused).toMatchObject([{ why }]);
    }
  });

  test("they are told sorted, and what is no address too; the others of the service are served", () => {
    const service = compileWeb({ spec: {}, unchecked: { externalIPs: ["what", "198.51.100.7", "127.000.0.1"] } });
    expect(service?.refused).toEqual([
      { address: "127.0.0.1", why: "it may not be in the loopback range (127.0.0.0/8)" },
      { address: "what", why: "it is no IP address" },
    ]);
    expect(service?.frontends.map(({ address }) => address)).toEqual(["10.96.0.10", "198.51.100.7"]);
  });
});
