import { expect, test } from "vitest";
import { keyOfName } from "./name.ts";
import { TYPE } from "./protocol.ts";
import { Routes } from "./routes.ts";

const routes = new Routes("host", [
  { suffix: "corp.example", group: "corp" },
  { suffix: "lab.corp.example", group: "lab" },
  { suffix: "intra", group: "intra" },
  { suffix: "printers.local", group: "printers" },
  { suffix: "7.10.in-addr.arpa", group: "reverse" },
]);

function route(name: string, type: number = TYPE.A): string {
  const key = keyOfName(name) ?? "\0";
  const labels: number[] = [];
  for (let at = 0; key.charCodeAt(at) > 0; at += key.charCodeAt(at) + 1) labels.push(at);
  const found = routes.of({ key, labels, type });
  return found.kind === "ask" ? found.group : `inside ${found.zoneAt}`;
}

test.for<[string, string, string]>([
  ["a name of the world is asked of the host's servers", "www.example.com", "host"],
  ["the root, too", "", "host"],
  ["a stub domain is asked of its own", "corp.example", "corp"],
  ["and what is below it", "a.b.CORP.example", "corp"],
  ["the longest suffix wins", "www.lab.corp.example", "lab"],
  ["a suffix ends where a label does", "www.xcorp.example", "host"],
  ["a single label stays inside, as if the root said that there is none", "printer", "inside 8"],
  ["but not where it is a stub domain", "intra", "intra"],
  ["nor what is below it", "www.intra", "intra"],
  ["names under .local stay inside, with the zone's name behind the first label", "nas.local", "inside 4"],
  ["names under .local stay inside at any depth", "_http._tcp.nas.local", "inside 15"],
  ["but not those of a stub domain", "one.printers.local", "printers"],
  ["a label that only ends in local is another", "www.notlocal", "host"],
  ["a reverse name of 10/8 stays inside", "4.3.2.10.in-addr.arpa", "inside 6"],
  ["its zone itself, too", "10.in-addr.arpa", "inside 0"],
  ["but not that of a stub domain", "4.3.7.10.in-addr.arpa", "reverse"],
  ["172.16/12 starts at 16", "1.2.16.172.in-addr.arpa", "inside 4"],
  ["and ends at 31", "1.2.31.172.in-addr.arpa", "inside 4"],
  ["172.32 is the world's", "1.2.32.172.in-addr.arpa", "host"],
  ["192.168/16 stays inside", "1.2.168.192.in-addr.arpa", "inside 4"],
  ["link-local addresses stay inside", "1.2.254.169.in-addr.arpa", "inside 4"],
  ["shared addresses of carriers are not in RFC 6303", "1.2.64.100.in-addr.arpa", "host"],
  ["a public reverse name is the world's", "8.8.8.8.in-addr.arpa", "host"],
  ["unique local addresses stay inside", "1.0.0.d.f.ip6.arpa", "inside 6"],
  ["link-local addresses of IPv6 stay inside", "1.b.e.f.ip6.arpa", "inside 2"],
  ["the loopback address of IPv6 stays inside", `1.${"0.".repeat(31)}ip6.arpa`, "inside 0"],
  ["public addresses of IPv6 are the world's", "0.2.ip6.arpa", "host"],
])("%s: %s", ([, name, want]) => {
  expect(route(name)).toBe(want);
});

test.for<[string, number, string]>([
  ["a host's address", TYPE.AAAA, "inside 4"],
  ["anything", TYPE.ANY, "inside 4"],
  ["who serves it", TYPE.NS, "host"],
  ["since when", TYPE.SOA, "host"],
  ["which keys its parent knows", TYPE.DS, "host"],
  ["its keys", TYPE.DNSKEY, "host"],
])("of a single label, which may be a top-level domain: %s", ([, type, want]) => {
  expect(route("com", type)).toBe(want);
});

test("other names stay inside whatever is asked of them", () => {
  expect(route("nas.local", TYPE.DS)).toBe("inside 4");
  expect(route("10.in-addr.arpa", TYPE.SOA)).toBe("inside 0");
});
