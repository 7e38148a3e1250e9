import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { openHttp } from "./http.ts";
import { createListenerSet, unlessNoIpv6, type ListenerSet } from "./listener-set.ts";
import { isAtLoopback, nodePortAddress, nodePortAddresses } from "./node-port-places.ts";

function running(onTrouble: (name: string, trouble: string | undefined) => void = () => undefined): {
  set: ListenerSet;
  stop: () => Promise<void>;
} {
  const set = createListenerSet({ onTrouble, retryEveryMs: 20 });
  const end = new AbortController();
  const ended = set.run(end.signal);
  const stop = async (): Promise<void> => {
    end.abort();
    await ended;
  };
  onTestFinished(stop);
  return { set, stop };
}

async function takenPort(): Promise<{ port: number; free: () => Promise<void> }> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // of a TCP server
  const free = async (): Promise<void> => {
    server.close();
    await once(server, "close");
  };
  return { port, free };
}

const ok = () => ({ status: 200, type: "text/plain", body: "ok" });
const get = async (port: number): Promise<number> => (await fetch(`http://127.0.0.1:${port}/`)).status;

test("a listener is there while it is wanted", async () => {
  const { port, free } = await takenPort();
  await free();
  const { set, stop } = running();
  set.want("a", () => openHttp({ address: "127.0.0.1", port }, ok));
  await waitFor(async () => (await get(port)) === 200, { what: "it to open" });
  set.want("a", undefined);
  await waitFor(() => get(port).then(() => false, () => true), { what: "it to close" }); // prettier-ignore
  set.want("a", () => openHttp({ address: "127.0.0.1", port }, ok));
  await waitFor(async () => (await get(port)) === 200, { what: "it to open again" });
  await stop();
  await expect(get(port)).rejects.toThrow();
});

test("a port of somebody else's is told of once, and taken when it becomes free; others do not wait for it", async () => {
  const { port, free } = await takenPort();
  const other = await takenPort();
  await other.free();
  const told: (string | undefined)[] = [];
  const { set } = running((name, trouble) =>
    told.push(trouble === undefined ? `${name} ok` : `${name} ${/E\w+/.exec(trouble)?.[0] ?? ""}`),
  );
  set.want("taken", () => openHttp({ address: "127.0.0.1", port }, ok));
  set.want("other", () => openHttp({ address: "127.0.0.1", port: other.port }, ok));
  await waitFor(async () => (await get(other.port)) === 200, { what: "the other" });
  expect(told).toEqual(["taken EADDRINUSE"]);
  await free();
  await waitFor(async () => (await get(port)) === 200, { what: "the port that became free" });
  expect(told).toEqual(["taken EADDRINUSE", "taken ok"]);
});

test("what is no longer wanted is no trouble", async () => {
  const { port, free } = await takenPort();
  onTestFinished(free);
  const told: (string | undefined)[] = [];
  const { set } = running((_name, trouble) => told.push(trouble));
  set.want("taken", () => openHttp({ address: "127.0.0.1", port }, ok));
  await waitFor(() => told.length === 1, { what: "the trouble" });
  set.want("taken", undefined);
  await waitFor(() => told.length === 2, { what: "its end" });
  expect(told[1]).toBeUndefined();
});

test("only questions are answered", async () => {
  const { port, free } = await takenPort();
  await free();
  const listener = await openHttp({ address: "127.0.0.1", port }, ({ pathname }) => (pathname === "/" ? ok() : undefined));
  onTestFinished(() => listener.close());
  const ask = (path: string, method: string) => fetch(`http://127.0.0.1:${port}${path}`, { method });
  expect((await ask("/", "POST")).status).toBe(405);
  expect((await ask("/other", "GET")).status).toBe(404);
  const head = await ask("/", "HEAD");
  expect([head.status, await head.text(), head.headers.get("content-length")]).toEqual([200, "", "2"]);
});

test("a host without IPv6 has no listener there, and no trouble", async () => {
  const fail = (code: string) => () => Promise.reject(Object.assign(new Error(code), { code }));
  (await unlessNoIpv6("::", fail("EAFNOSUPPORT"))).close();
  (await unlessNoIpv6("::1", fail("EADDRNOTAVAIL"))).close();
  await expect(unlessNoIpv6("fd00::1", fail("EADDRNOTAVAIL"))).rejects.toThrow();
  await expect(unlessNoIpv6("::", fail("EADDRINUSE"))).rejects.toThrow();
});

const nodeIps = ["10.0.0.1", "192.168.7.1", "fd00::1"];
test.for([
  ["everywhere", [], ["0.0.0.0"], true, "10.0.0.1"],
  ["in a prefix", ["192.168.0.0/16"], ["192.168.7.1"], false, "192.168.7.1"],
  ["in a prefix and at loopback", ["192.168.0.0/16", "127.0.0.0/8"], ["192.168.7.1", "127.0.0.1"], true, "192.168.7.1"],
  ["at loopback only", ["127.0.0.1/32"], ["127.0.0.1"], true, undefined],
  ["everywhere, when all prefixes are of the other family", ["fd00::/64"], ["0.0.0.0"], true, "10.0.0.1"],
] as const)("node ports of IPv4 %s", ([, nodePortCidrs, addresses, atLoopback, own]) => {
  const host = { nodeIps, nodePortCidrs };
  expect(nodePortAddresses(host, "IPv4")).toEqual(addresses);
  expect(isAtLoopback(host, "IPv4")).toBe(atLoopback);
  expect(nodePortAddress(host, "IPv4")).toBe(own);
});
