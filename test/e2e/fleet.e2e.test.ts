import { execa } from "execa";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import { processesIn, removeFleet, standingOf, stateFolder } from "#test/fleet/teardown.ts";
import { waitFor } from "#test/wait-for.ts";

const pings = async (from: Host, to: string) => (await from.run("ping", ["-c", "1", "-W", "1", to], { reject: false })).exitCode === 0;
const echo = (host: Host, id: string, ...listen: string[]) =>
  host.spawn("node", ["test/fleet/http-echo.ts", "--id", id, ...listen.flatMap((address) => ["--listen", address])]);
const fetchText = async (from: Host, url: string, ...args: string[]) => (await from.run("curl", ["-sS", "-m", "3", ...args, url])).stdout;

async function remainsOf(name: string): Promise<string[]> {
  const left = [...(await readdir("/run/netns")), ...(await readdir(stateFolder))];
  return left.filter((entry) => entry.startsWith(name));
}

test("hosts reach each other and the outside client over IPv4 and IPv6, until a cable is cut, and again when it is healed", async () => {
  await using fleet = await createFleet({ hosts: 3 });
  const [a, b, c] = fleet.hosts;
  expect(await Promise.all([pings(a, b.ip), pings(b, c.ip6), pings(fleet.out, c.ip), pings(c, fleet.out.ip6)])).toEqual([
    true,
    true,
    true,
    true,
  ]);
  await fleet.cut(b);
  expect(await Promise.all([pings(a, b.ip), pings(b, c.ip), pings(a, c.ip)])).toEqual([false, false, true]);
  await fleet.heal(b);
  await waitFor(() => pings(a, b.ip), { what: "the healed host to answer" });
});

test("a host has a name, /etc, /var/lib and /run of its own, and what it writes there is seen nowhere else", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [a, b] = fleet.hosts;
  expect((await a.run("hostname")).stdout).toBe("h1");
  expect((await a.run("readlink", ["-f", "/sys/class/net/eth0"])).stdout).toContain("/virtual/");
  for (const file of ["/etc/fleet-test", "/var/lib/fleet-test", "/run/fleet-test"]) {
    await a.run("tee", [file], { input: "here" });
    expect((await a.run("cat", [file])).stdout).toBe("here");
    expect((await b.run("cat", [file], { reject: false })).exitCode).toBe(1);
    await expect(stat(file)).rejects.toThrow("ENOENT");
  }
  await a.run("mv", ["/etc/fleet-test", "/etc/resolv.conf"]);
  expect((await b.run("cat", ["/etc/resolv.conf"])).stdout).toBe("nameserver 127.0.0.53");
});

describe("containers", () => {
  test("behind plain Docker's masquerade reach their neighbour, every host and their own, which see the host's address", async () => {
    await using fleet = await createFleet({ hosts: 2, containersPerHost: 2 });
    const [a, b] = fleet.hosts;
    const container = fleet.host("h1c1");
    expect(await Promise.all([pings(container, fleet.host("h1c2").ip), pings(container, a.ip), pings(a, container.ip)])).toEqual([
      true,
      true,
      true,
    ]);
    await using server = await echo(b, "web", `${b.ip}:8080`);
    await server.waitForLine(/^listening/);
    expect(await fetchText(container, `http://${b.ip}:8080/`)).toBe(`web ${a.ip}`);
    expect(await pings(b, container.ip)).toBe(false);
  });

  test("with routes reach containers of other hosts, which see their own address", async () => {
    await using fleet = await createFleet({ hosts: 2, containersPerHost: 1, containerNetwork: "routed" });
    const [here, there] = [fleet.host("h1c1"), fleet.host("h2c1")];
    await using server = await echo(there, "web", `${there.ip}:8080`, `[${there.ip6}]:8080`);
    await server.waitForLine(new RegExp(`^listening ${there.ip6}:8080$`));
    expect(await fetchText(here, `http://${there.ip}:8080/`)).toBe(`web ${here.ip}`);
    expect(await fetchText(here, `http://[${there.ip6}]:8080/`)).toBe(`web ${here.ip6}`);
  });
});

test.for([
  { backend: "nft", says: "nf_tables" },
  { backend: "legacy", says: "legacy" },
] as const)("plain iptables on a host is the $backend one, and its rules are the host's alone", async ({ backend, says }) => {
  await using fleet = await createFleet({ hosts: 2, backend });
  const [a, b] = fleet.hosts;
  for (const program of ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"])
    expect((await a.run(program, ["--version"])).stdout).toContain(says);
  await a.run("iptables-restore", ["--noflush", "-w"], { input: "*nat\n:FLEET-TEST - [0:0]\nCOMMIT\n" });
  expect((await a.run(`iptables-${backend}-save`)).stdout).toContain("FLEET-TEST");
  expect((await b.run(`iptables-${backend}-save`)).stdout).not.toContain("FLEET-TEST");
});

test("the small servers and clients answer, refuse, fail their health check and keep connections as they are told to", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [a, b] = fleet.hosts;
  await using web = await echo(a, "web-1", `${a.ip}:8080`);
  await using log = await a.spawn("node", ["test/fleet/udp-echo.ts", "--id", "log-1", "--listen", `${a.ip}:5300`]);
  await Promise.all([web.waitForLine(/^listening/), log.waitForLine(/^listening/)]);

  const health = (...args: string[]) => fetchText(b, `http://${a.ip}:8080/healthz`, "-o", "/dev/null", "-w", "%{http_code}", ...args);
  expect(await health()).toBe("200");
  await fetchText(b, `http://${a.ip}:8080/health`, "-d", '{"status":503}');
  expect(await health()).toBe("503");

  const askHttp = async (port: number) =>
    JSON.parse((await b.run("node", ["test/fleet/http-ask.ts", "--url", `http://${a.ip}:${port}/`, "--requests", "5"])).stdout) as unknown;
  expect(await askHttp(8080)).toMatchObject({ answers: { "web-1": 5 }, failures: {} });
  expect(await askHttp(8081)).toMatchObject({ answers: {}, failures: { ECONNREFUSED: 5 } });

  const askUdp = async (port: number) =>
    (await b.run("node", ["test/fleet/udp-ask.ts", "--to", `${a.ip}:${port}`, "--count", "2", "--same-socket"])).stdout.split("\n");
  const answers = await askUdp(5300);
  expect(answers.map((line) => line.replace(/:\d+/, ""))).toEqual([`log-1 ${b.ip} 1`, `log-1 ${b.ip} 2`]);
  expect(new Set(answers.map((line) => /:\d+/.exec(line)?.[0])).size).toBe(1);
  expect(await askUdp(5301)).toEqual(["ECONNREFUSED", "ECONNREFUSED"]);

  await using stream = await b.spawn("curl", ["-sSN", `http://${a.ip}:8080/stream`]);
  await stream.waitForLine(/^web-1 3$/);
  await web.kill();
  expect(await stream.ended).toMatchObject({ exitCode: 18 });
});

test("a program that ends before it prints what is waited for fails the wait, with what it had printed", async () => {
  await using fleet = await createFleet({ hosts: 1 });
  const program = await fleet.hosts[0].spawn("node", ["-e", "console.log('no room'); process.exitCode = 3"]);
  await expect(program.waitForLine(/ready/)).rejects.toThrow("no room");
  expect(await program.ended).toEqual({ exitCode: 3, signal: null });
});

test("disposing ends programs that ignore TERM and deletes everything, also when the test throws, and may be repeated", async () => {
  let kept: Fleet | undefined;
  let pid = 0;
  const body = async () => {
    await using fleet = await createFleet({ hosts: 2, containersPerHost: 1 });
    kept = fleet;
    const stubborn = await fleet
      .host("h1c1")
      .spawn("node", ["-e", "process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6); console.log('up')"]);
    pid = stubborn.pid;
    await stubborn.waitForLine(/^up$/);
    expect(await processesIn([fleet.host("h1c1").netns])).toContain(pid);
    throw new Error("the test failed");
  };
  await expect(body()).rejects.toThrow("the test failed");
  expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  expect(await remainsOf(kept?.name ?? "")).toEqual([]);
  await kept?.[Symbol.asyncDispose]();
});

test("fleets with the same addresses live side by side, and one that is removed is not held by another", async () => {
  await using first = await createFleet({ hosts: 1 });
  const { ino } = await stat(join("/run/netns", first.hosts[0].netns));
  await using second = await createFleet({ hosts: 1 });
  const [{ pid }] = [await second.hosts[0].spawn("sleep", ["1000"])];
  const holds = async () => (await readFile(`/proc/${pid}/mountinfo`, "utf8")).includes(`net:[${ino}]`);
  expect(await holds()).toBe(true); // it was there when the second one's view was made
  await first[Symbol.asyncDispose]();
  expect(await holds()).toBe(false);
  expect(await pings(second.out, second.hosts[0].ip)).toBe(true);
});

test("what a killed run left is removed by the next fleet, and a fleet that was kept is not", async () => {
  const script = (then: string) => `
    import { createFleet } from ${JSON.stringify(join(process.cwd(), "test/fleet/fleet.ts"))};
    const fleet = await createFleet({ hosts: 1 });
    await fleet.hosts[0].spawn("sleep", ["1000"]);
    ${then}`;
  const start = (then: string) => execa(process.execPath, ["--input-type=module", "-e", script(then)], { reject: false });
  const [killed, kept] = await Promise.all([
    start("process.stdout.write(fleet.name, () => process.kill(process.pid, 'SIGKILL'));"),
    start("await fleet.keep(); process.stdout.write(fleet.name);"),
  ]);
  onTestFinished(() => removeFleet(kept.stdout));
  expect(killed.signal).toBe("SIGKILL");
  expect(kept.exitCode).toBe(0);
  expect((await remainsOf(killed.stdout)).length).toBeGreaterThan(0);
  expect(await standingOf(killed.stdout)).toBe("orphaned");
  expect(await standingOf(kept.stdout)).toBe("kept");

  await using next = await createFleet({ hosts: 1 });
  expect(next.name).not.toBe(killed.stdout);
  expect(await remainsOf(killed.stdout)).toEqual([]);
  expect(await standingOf(killed.stdout)).toBe("none");
  expect(await standingOf(next.name)).toBe("running");
  expect(await processesIn([`${kept.stdout}-h1`])).toHaveLength(2);
  await removeFleet(kept.stdout);
  expect(await remainsOf(kept.stdout)).toEqual([]);
});
