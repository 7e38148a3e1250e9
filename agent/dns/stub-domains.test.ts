import { expect, test } from "vitest";
import { parseServer, serverText } from "./server-address.ts";
import { parseStubDomain } from "./stub-domains.ts";

test("a stub domain has a suffix and servers", () => {
  expect(parseStubDomain("Corp.Example.=10.0.0.1,10.0.0.2:5353, [fd00::1]:54")).toEqual({
    suffix: "corp.example",
    servers: [
      { address: "10.0.0.1", port: 53 },
      { address: "10.0.0.2", port: 5353 },
      { address: "fd00::1", port: 54 },
    ],
  });
  expect(parseStubDomain("*.corp.example=fd00::1").suffix).toBe("corp.example");
  expect(parseStubDomain("10.in-addr.arpa=10.0.0.1").suffix).toBe("10.in-addr.arpa");
});

test.for([
  "",
  "corp.example",
  "corp.example=",
  "=10.0.0.1",
  ".=10.0.0.1",
  "corp..example=10.0.0.1",
  "corp.example=10.0.0.1,ns.corp.example",
])('"%s" is no stub domain', (text) => {
  expect(() => parseStubDomain(text)).toThrow("is no stub domain");
});

test.for<[string, string, number]>([
  ["10.0.0.1", "10.0.0.1", 53],
  ["10.0.0.1:5353", "10.0.0.1", 5353],
  ["fd00::1", "fd00::1", 53],
  ["[fd00::1]:53", "fd00::1", 53],
  ["[fd00::1]:5353", "fd00::1", 5353],
  ["fe80::1%eth0", "fe80::1%eth0", 53],
  ["[fe80::1%eth0.7]:5353", "fe80::1%eth0.7", 5353],
])("%s is a server, and is written as people write it", ([text, address, port]) => {
  expect(parseServer(text)).toEqual({ address, port });
  expect(parseServer(serverText({ address, port }))).toEqual({ address, port });
});

test.for([
  "",
  "ns.example",
  "10.0.0.1:0",
  "10.0.0.1:65536",
  "10.0.0.1%eth0",
  "[10.0.0.1]:53",
  "fe80::1%",
  "fe80::1%a b",
  "10.0.0.1:5353:1",
  "[fd00::1",
])('"%s" is no server', (text) => {
  expect(parseServer(text)).toBeUndefined();
});
