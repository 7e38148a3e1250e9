import { expect, test } from "vitest";
import { aCompiled, aFrontend, aTable } from "#test/tables.ts";
import { createClaimedAddresses } from "./claimed-addresses.ts";

const balanced = (address: string, key: string) => aCompiled([aFrontend({ scope: "loadBalancer", address }), aFrontend()], key);

test("an address is claimed while a Service asks for it, served or refused; virtual IPs are no claim", () => {
  const claims = createClaimedAddresses();
  const web = balanced("192.0.2.1", "default/web");
  const shared = aCompiled([aFrontend({ scope: "external", address: "192.0.2.1", port: 81 })], "default/other");
  const refused = aCompiled([aFrontend()], "default/bad", { refused: [{ address: "192.0.2.9", why: "it is a gateway" }] });
  claims.put({ revision: 1, table: aTable([web, refused]), changes: [] });
  expect(["192.0.2.1", "192.0.2.9", "10.96.0.10"].map((address) => claims.has(address))).toEqual([true, true, false]);
  claims.put({ revision: 2, changes: [{ key: "default/other", previous: undefined, next: shared }] });
  claims.put({ revision: 3, changes: [{ key: "default/web", previous: web, next: balanced("192.0.2.2", "default/web") }] });
  expect(["192.0.2.1", "192.0.2.2"].map((address) => claims.has(address))).toEqual([true, true]);
  claims.put({ revision: 4, changes: [{ key: "default/other", previous: shared, next: undefined }] });
  expect(claims.has("192.0.2.1")).toBe(false);
  claims.put({ revision: 5, table: aTable([]), changes: [] });
  expect(["192.0.2.2", "192.0.2.9"].map((address) => claims.has(address))).toEqual([false, false]);
});
