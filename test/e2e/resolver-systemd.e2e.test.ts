import { afterAll, beforeAll, expect, test } from "vitest";
import { createFleet, type Fleet, type Host } from "../fleet/fleet.ts";
import type { SystemdTree } from "../fleet/systemd-tree.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead } from "./agent-rig.ts";
import {
  filesOf,
  joinMachine,
  openTreeHost,
  OUTSIDE,
  resolved,
  startFleetServer,
  startUpstream,
  untilResolved,
  WEB,
  type Upstream,
} from "./resolver-rig.ts";

/** A booted Debian whose programs ask systemd-resolved. The tests follow one another: one host's life with `fairlead dns`. */

let fleet: Fleet<readonly [Host, Host]>;
let tree: SystemdTree;
let upstream: Upstream;
let before: string;

const stack = new AsyncDisposableStack();
beforeAll(async () => {
  fleet = stack.use(await createFleet({ hosts: 2 }));
  const [server, host] = fleet.hosts;
  upstream = await startUpstream(fleet.out);
  tree = stack.use(await openTreeHost(fleet, host));
  const api = await startFleetServer(server);
  await joinMachine(tree, { api, server, name: host.name });
  await untilResolved(tree, OUTSIDE);
  before = await filesOf(tree, "/etc", "/run/systemd/resolve");
  await tree.run("systemctl", ["enable", "--now", "--quiet", "fairlead-agent.service"]);
}, 600_000);
afterAll(() => stack.disposeAsync(), 60_000);

const dns = (...args: string[]) => tree.run(fairlead, ["dns", ...args], { reject: false, timeoutMs: 60_000 });
const settingsOfLink = async () => (await tree.run("resolvectl", ["status", "fairlead-dns"], { reject: false })).stdout;

test("before install, the host does not find the fleet's names, and status says so", async () => {
  const { stdout, exitCode } = await dns("status");
  expect(exitCode).toBe(1);
  expect(stdout).toContain("this host was not told to ask the agent: `sudo fairlead dns install`");
  const dry = await dns("install", "--dry-run");
  expect(dry.stdout).toContain("resolvectl domain fairlead-dns ~cluster.local ~96.10.in-addr.arpa");
  expect(dry.stdout).toContain("nothing was changed");
  expect(await settingsOfLink()).toBe("");
});

test("install: names of the fleet are asked of us, all others of the uplink alone", async () => {
  const { stdout, stderr, exitCode } = await dns("install");
  expect(stderr).toBe("");
  expect(stdout).toContain("checked: getent ahosts ns.dns.cluster.local says 10.96.0.10");
  expect(exitCode).toBe(0);
  expect(await resolved(tree, WEB.name)).toBe(WEB.address);
  const { stdout: direct } = await tree.run("resolvectl", ["query", "--legend=no", WEB.name]);
  expect(direct).toContain(WEB.address);
  expect((await tree.run("resolvectl", ["query", "--legend=no", "10.96.0.50"])).stdout).toContain(WEB.name);

  // What we were asked is told by us: with questions for others, the upstream would hear each twice.
  const asked = (await upstream.asked()).length;
  await tree.run("resolvectl", ["flush-caches"]);
  for (const name of ["one.example.com", "two.example.com", "three.example.com"]) await resolved(tree, name);
  const now = (await upstream.asked()).slice(asked);
  for (const name of ["one.example.com", "two.example.com", "three.example.com"])
    expect(now.filter((one) => one === name).length, name).toBe(1);
  expect(now.filter((name) => /cluster\.local|96\.10\.in-addr/.test(name))).toEqual([]);
  expect(await resolved(tree, OUTSIDE.name)).toBe(OUTSIDE.address);
  const status = await dns("status");
  expect(status.exitCode).toBe(0);
  expect(status.stdout).toMatch(/^\*\.cluster\.local +the agent of this host \(h2\), by a link of systemd-resolved$/m);
  expect(status.stdout).toMatch(/^all other names +172\.30\.255\.1$/m);
  // No file of the host's was edited.
  expect((await filesOf(tree, "/etc")).replaceAll(/^.*fairlead-agent.*\n/gm, "")).toBe(
    onlyEtc(before).replaceAll(/^.*fairlead-agent.*\n/gm, ""),
  );
});

test("lookup tells which objects are behind a name", async () => {
  const { stdout, exitCode } = await dns("lookup", WEB.name, "--trace");
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^10\.96\.0\.10 says: NOERROR, authoritative/m);
  expect(stdout).toMatch(/^ {2}Service default\/web, revision \d+$/m);
  expect(stdout).toMatch(/^ {2}A 10\.96\.0\.50$/m);
  expect(stdout).toContain("and follows the server");
  expect((await dns("lookup", "10.96.0.50")).stdout).toMatch(/Service default\/web/);
  const missing = await dns("lookup", "nothing.default.svc.cluster.local");
  expect(missing.exitCode).toBe(3);
  expect(missing.stdout).toMatch(/NXDOMAIN[^]*Service default\/nothing: not there/);
  const other = await dns("lookup", OUTSIDE.name, "-o", "json");
  expect(JSON.parse(other.stdout)).toMatchObject({
    why: { upstreams: ["172.30.255.1"], explanation: { records: [] } },
    asPrograms: { answers: [OUTSIDE.address] },
  });
});

test.for([
  ["systemd-resolved is restarted", ["systemctl", "restart", "systemd-resolved"]],
  ["somebody reverts the link's settings", ["resolvectl", "revert", "fairlead-dns"]],
  ["the link is deleted", ["ip", "link", "delete", "fairlead-dns"]],
  ["the link is taken down", ["ip", "link", "set", "fairlead-dns", "down"]],
  [
    "systemd-resolved loses all that it kept",
    ["sh", "-c", "systemctl stop systemd-resolved; rm -rf /run/systemd/resolve; systemctl start systemd-resolved"],
  ],
  ["the agent is restarted", ["systemctl", "restart", "fairlead-agent"]],
] as const)("when %s, names are there again in a moment", async ([, [file, ...args]]) => {
  await tree.run(file, args);
  const start = performance.now();
  await untilResolved(tree, WEB, 10_000);
  const ms = performance.now() - start;
  // A look a second: 1 s alone, and more where others use the machine; a restarted agent has to start.
  expect(ms).toBeLessThan(args.at(-1) === "fairlead-agent" ? 10_000 : 5_000);
  await tree.run("systemctl", ["restart", "uplink"]);
  await untilResolved(tree, OUTSIDE);
});

test("a host that boots without its agent resolves as before, and with it again as installed", async () => {
  await tree.run("systemctl", ["disable", "--now", "--quiet", "fairlead-agent.service"]);
  await untilResolved(tree, OUTSIDE);
  await tree.halt();
  await tree.boot();
  await untilResolved(tree, OUTSIDE);
  expect(await settingsOfLink()).toBe("");
  expect((await dns("status")).stdout).toContain("problem: the agent does not run");
  await tree.run("systemctl", ["enable", "--now", "--quiet", "fairlead-agent.service"]);
  await untilResolved(tree, WEB, 20_000);
});

test("uninstall leaves /etc and resolved's state byte for byte as they were", async () => {
  const dry = await dns("uninstall", "--dry-run");
  expect(dry.stdout).toContain("would remove systemd-resolved's link fairlead-dns");
  expect(await settingsOfLink()).not.toBe("");
  expect((await dns("uninstall")).stdout).toContain("nothing of ours is in this host's resolver");
  expect((await dns("uninstall")).stdout).toBe("nothing of ours is in this host's resolver");
  expect(await resolved(tree, WEB.name)).toBe("");
  await untilResolved(tree, OUTSIDE);
  await tree.run("systemctl", ["disable", "--now", "--quiet", "fairlead-agent.service"]);
  const links = (text: string): string => text.replaceAll(/\/netif\/\d+/g, "/netif/N"); // numbers of network devices
  expect(links(await filesOf(tree, "/etc", "/run/systemd/resolve"))).toBe(links(before));
});

const PLAIN = "# of this host\nnameserver 172.30.255.1\noptions timeout:1\n";
const resolvConf = async () => (await tree.run("cat", ["/etc/resolv.conf"])).stdout;

test("without systemd-resolved: a power cut leaves our file behind, and the boot gives the host its own, with no agent", async () => {
  await tree.run("systemctl", ["mask", "--now", "--quiet", "systemd-resolved"]);
  await tree.run("systemctl", ["disable", "--now", "--quiet", "uplink", "fairlead-agent"]);
  await tree.run("rm", ["/etc/resolv.conf"]);
  await tree.write("/etc/resolv.conf", PLAIN);
  const plain = await filesOf(tree, "/etc");
  await tree.run("systemctl", ["start", "--quiet", "fairlead-agent.service"]);
  expect((await dns("install", "--write")).exitCode).toBe(0);
  await untilResolved(tree, WEB);
  expect(await resolvConf()).toContain("nameserver 10.96.0.10");
  // Killed, it cannot give the file back itself: what its unit starts then does, before the agent is there again.
  await tree.run("systemctl", ["kill", "--signal=KILL", "fairlead-agent.service"]);
  await waitFor(async () => (await resolvConf()) === PLAIN.trim(), { what: "the host's own file" });
  await untilResolved(tree, WEB, 20_000);
  await tree.halt("at once"); // the agent is not enabled: it will not come back
  await tree.boot();
  expect(await resolvConf()).toBe(PLAIN.trim());
  expect((await tree.run("systemctl", ["is-system-running"], { reject: false })).stdout).toBe("running"); // no unit failed, none was dropped for a cycle
  await untilResolved(tree, OUTSIDE);

  // With an agent it is taken again when that answers, and a boot in order goes the same way.
  await tree.run("systemctl", ["enable", "--now", "--quiet", "fairlead-agent.service"]);
  await untilResolved(tree, WEB, 20_000);
  await tree.halt();
  await tree.boot();
  await untilResolved(tree, WEB, 20_000);
  await untilResolved(tree, OUTSIDE);

  await tree.run("systemctl", ["disable", "--quiet", "fairlead-agent.service"]);
  expect((await dns("uninstall")).stdout).toContain("removed the unit that gives a boot its own resolv.conf");
  expect(await filesOf(tree, "/etc")).toBe(plain);
});

function onlyEtc(files: string): string {
  return files
    .split("\n")
    .filter((line) => /^\/etc[ /]|  \/etc\//.test(line))
    .join("\n");
}
