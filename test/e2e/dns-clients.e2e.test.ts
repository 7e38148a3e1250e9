import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { containerSubnets } from "#test/fleet/addresses.ts";
import { createFleet } from "#test/fleet/fleet.ts";

const VIP = "10.96.0.10";

// Those that programs really ask by: glibc's resolver, musl's (Alpine's images), Go's and Node's own, and dig. All through /etc/resolv.conf with a search path.

test("glibc, musl, Go, Node and dig find names by the search path, in both families, and take NXDOMAIN and long answers as they are", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-clients-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const musl = join(folder, "musl-getaddrinfo");
  await execa("musl-gcc", ["-static", "-o", musl, join(import.meta.dirname, "dns-getaddrinfo.c")]);

  await using fleet = await createFleet({ hosts: 1, containersPerHost: 1 });
  const [host] = fleet.hosts;
  await using agent = await host.spawn("node", ["test/e2e/dns-host.ts", "world", VIP, containerSubnets(1).v4]);
  await agent.waitForLine(/^ready$/, { timeoutMs: 20_000 });
  const search = "search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5 timeout:2\n";
  await host.run("sh", ["-c", "cat >/etc/resolv.conf"], { input: `nameserver 127.0.0.153\n${search}` });
  const linesOf = async (command: string, ...args: string[]): Promise<string[]> => {
    const { stdout, exitCode } = await host.run(command, args, { reject: false });
    return exitCode === 0 ? stdout.split("\n").toSorted() : [`exit ${exitCode}`];
  };
  /** A line for each address and type of socket. */
  const glibc = async (name: string) => [
    ...new Set((await linesOf("getent", "ahosts", name)).map((line) => line.replace(/^(\S+) +(STREAM|DGRAM|RAW).*/, "$1"))),
  ];
  const node = (script: string) => linesOf("node", "-e", `const dns = require("node:dns/promises"); ${script}`);

  for (const addresses of [glibc, (name: string) => linesOf(musl, name)]) {
    expect(await addresses("web")).toEqual(["10.96.1.1"]);
    expect(await addresses("web2.prod")).toEqual(["10.96.1.5"]);
    expect(await addresses("web.default.svc.cluster.local")).toEqual(["10.96.1.1"]);
    expect((await addresses("dual")).toSorted()).toEqual(["10.96.1.2", "fd10::12"]);
    expect(await addresses("six")).toEqual(["fd10::16"]);
    expect((await addresses("db")).toSorted()).toEqual(["192.168.56.31", "192.168.56.32"]);
    expect(await addresses("inside")).toEqual(["10.96.1.1"]);
    expect(await addresses("h1.node")).toEqual(expect.arrayContaining(["192.168.56.1"]));
    expect(await addresses("nope")).toEqual(["exit 2"]);
  }
  // Over TCP glibc has all of them; musl before 1.2.4 knows no TCP and has what a packet holds.
  expect(await glibc("many")).toHaveLength(200);
  expect((await linesOf(musl, "many")).length).toBeGreaterThan(20);
  expect(await linesOf("getent", "hosts", "10.96.1.1")).toEqual([expect.stringContaining("web.default.svc.cluster.local")]);

  expect(await node('dns.resolve4("web.default.svc.cluster.local").then((found) => console.log(found.join()))')).toEqual(["10.96.1.1"]);
  expect(
    await node(
      'dns.resolveSrv("_http._tcp.db.default.svc.cluster.local").then((all) => console.log(all.map((s) => s.name + ":" + s.port).sort().join()))',
    ),
  ).toEqual(["db-0.db.default.svc.cluster.local:8080,db-1.db.default.svc.cluster.local:8080"]);
  expect(await node('dns.reverse("10.96.1.1").then((found) => console.log(found.join()))')).toEqual(["web.default.svc.cluster.local"]);
  expect(await node('dns.lookup("web").then((found) => console.log(found.address))')).toEqual(["10.96.1.1"]);
  expect(await node('dns.resolve6("web.default.svc.cluster.local").catch((error) => console.log(error.code))')).toEqual(["ENODATA"]);
  expect(await node('dns.resolve4("nope.default.svc.cluster.local").catch((error) => console.log(error.code))')).toEqual(["ENOTFOUND"]);
  expect(await node('dns.resolve4("many.default.svc.cluster.local").then((found) => console.log(found.length))')).toEqual(["200"]);

  // hey is a small program of Go's that says where it wanted to connect to. Nothing leads there.
  await host.run("ip", ["route", "add", "unreachable", "10.96.0.0/16"]);
  const go = async (name: string) => {
    const { stdout } = await host.run("hey", ["-n", "1", "-c", "1", "-t", "5", `http://${name}/`], { env: { GODEBUG: "netdns=go" } });
    return /: dial tcp(.*)/.exec(stdout)?.[1];
  };
  expect(await go("web")).toMatch(/^ 10\.96\.1\.1:80: /);
  expect(await go("web2.prod")).toMatch(/^ 10\.96\.1\.5:80: /);
  expect(await go("web.default.svc.cluster.local")).toMatch(/^ 10\.96\.1\.1:80: /);
  expect(await go("six")).toMatch(/^ \[fd10::16\]:80: /);
  expect(await go("inside")).toMatch(/^ 10\.96\.1\.1:80: /);
  expect(await go("nope")).toMatch(/^: lookup nope on 127\.0\.0\.153:53: no such host$/);

  expect(await linesOf("dig", "+search", "+short", "web")).toEqual(["10.96.1.1"]);
  expect(await linesOf("dig", "+search", "+short", "+tcp", "db-0.db")).toEqual(["192.168.56.31"]);
});
