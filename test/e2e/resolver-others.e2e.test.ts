import { afterAll, beforeAll, expect, test } from "vitest";
import { createFleet, type Fleet, type Host } from "../fleet/fleet.ts";
import { openSystemdTree, type SystemdTree } from "../fleet/systemd-tree.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead } from "./agent-rig.ts";
import {
  AGENT_UNIT,
  filesOf,
  joinMachine,
  OUTSIDE,
  resolved,
  startFleetServer,
  startUpstream,
  untilResolved,
  WEB,
  type Upstream,
} from "./resolver-rig.ts";

/** A booted Debian whose names are NetworkManager's with its dnsmasq, and then resolvconf's. The tests follow one another. */

let fleet: Fleet<readonly [Host, Host]>;
let tree: SystemdTree;
let upstream: Upstream;

const stack = new AsyncDisposableStack();
beforeAll(async () => {
  fleet = stack.use(await createFleet({ hosts: 2 }));
  const [server, host] = fleet.hosts;
  upstream = await startUpstream(fleet.out);
  tree = stack.use(await openSystemdTree(fleet, host, "others"));
  await tree.write("/etc/systemd/system/fairlead-agent.service", AGENT_UNIT);
  // Masked: it would hear of this machine's devices; and what begins when a test says so.
  for (const unit of ["systemd-udevd", "systemd-udev-trigger", "NetworkManager", "resolvconf"])
    await tree.write(`/etc/systemd/system/${unit}.service`, "");
  await tree.write("/etc/NetworkManager/NetworkManager.conf", networkManagerConf(fleet.out.ip));
  await tree.write(CONNECTION, SOME_CONNECTION);
  await tree.boot();
  await tree.run("chmod", ["600", CONNECTION]);
  await tree.run("mount", ["-o", "remount,ro", "/sys"]); // how NetworkManager sees that there is no udev
  const api = await startFleetServer(server);
  await joinMachine(tree, { api, server, name: host.name });
}, 600_000);
afterAll(() => stack.disposeAsync(), 60_000);

const CONNECTION = "/etc/NetworkManager/system-connections/lan.nmconnection";
const networkManagerConf = (upstream: string): string => `[main]
dns=dnsmasq
rc-manager=file
[keyfile]
unmanaged-devices=interface-name:eth0;interface-name:lo
[global-dns-domain-*]
servers=${upstream}
`;
// With none, it tells names nothing.
const SOME_CONNECTION = `[connection]
id=lan
type=bridge
interface-name=lan0
[bridge]
stp=false
[ipv4]
method=manual
address1=198.51.100.1/24
[ipv6]
method=disabled
`;

const dns = (...args: string[]) => tree.run(fairlead, ["dns", ...args], { reject: false, timeoutMs: 60_000 });
const resolvConf = async (): Promise<string> => (await tree.run("cat", ["/etc/resolv.conf"])).stdout;
const untilLists = (server: string): Promise<unknown> =>
  waitFor(async () => (await resolvConf()).match(/^nameserver .*$/gm)?.join() === `nameserver ${server}`, {
    what: `${server} alone in the file`,
    timeoutMs: 20_000, // a unit of systemd may have to end and another to start, beside other suites
  });

test("NetworkManager with dnsmasq: its dnsmasq asks us for our names and nobody else, and uninstall leaves nothing", async () => {
  await tree.run("rm", ["-f", "/etc/systemd/system/NetworkManager.service", "/etc/resolv.conf"]);
  await tree.run("systemctl", ["daemon-reload"]);
  await tree.run("systemctl", ["start", "NetworkManager.service"]);
  await untilResolved(tree, OUTSIDE);
  const before = await filesOf(tree, "/etc");
  await tree.run("systemctl", ["start", "fairlead-agent.service"]);
  const dry = await dns("install");
  expect(dry.stdout).toContain("NetworkManager's dnsmasq answers at 127.0.0.1, which /etc/resolv.conf names");
  expect(dry.stdout).toContain("server=/cluster.local/10.96.0.10");
  expect(dry.stdout).toContain("nothing was changed");
  expect(await filesOf(tree, "/etc")).toBe(before);

  const { stdout, exitCode } = await dns("install", "--write");
  expect(stdout).toContain("checked: getent ahosts ns.dns.cluster.local says 10.96.0.10");
  expect(exitCode).toBe(0);
  const askedByInstall = (await upstream.asked()).length; // install itself asks for a name until dnsmasq has taken the drop-in
  await untilResolved(tree, WEB);
  expect((await tree.run("dig", ["+short", "-x", WEB.address])).stdout).toBe(`${WEB.name}.`);
  await untilResolved(tree, OUTSIDE);
  await untilLists("127.0.0.1");
  const asked = (await upstream.asked()).slice(askedByInstall);
  expect(asked.filter((name) => /cluster\.local/.test(name))).toEqual([]);
  // Other names, where a program asks us for them: not by way of the dnsmasq that asks us.
  expect((await tree.run("dig", ["+short", "@127.0.0.153", OUTSIDE.name])).stdout).toBe(OUTSIDE.address);
  const status = await dns("status");
  expect(status.stdout).toMatch(/^\*\.cluster\.local +the agent of this host \(h2\), by NetworkManager's dnsmasq$/m);
  expect(status.exitCode).toBe(0);

  await tree.run("systemctl", ["restart", "NetworkManager.service"]);
  await untilResolved(tree, WEB);
  expect((await dns("uninstall")).stdout).toContain("removed drop-in of NetworkManager's dnsmasq");
  expect((await dns("uninstall")).stdout).toBe("nothing of ours is in this host's resolver");
  await untilResolved(tree, OUTSIDE);
  expect(await resolved(tree, WEB.name)).toBe("");
  expect(await filesOf(tree, "/etc")).toBe(before);
});

/** As a lease tells it. */
const lease = (text: string): Promise<unknown> => tree.run("resolvconf", ["-a", "eth0"], { input: text });

test("resolvconf: we stand alone in its file while the agent answers, and uninstall leaves what the lease says", async () => {
  await tree.run("systemctl", ["stop", "--quiet", "NetworkManager.service", "fairlead-agent.service"]);
  await tree.run("sh", [
    "-euc",
    "rm /etc/resolv.conf; ln -s ../run/resolvconf/resolv.conf /etc/resolv.conf; mkdir -p /run/resolvconf/interface",
  ]);
  await tree.run("resolvconf", ["--enable-updates"]);
  await lease(`search lan.local\nnameserver ${fleet.out.ip}\n`);
  await untilResolved(tree, OUTSIDE);
  const before = await filesOf(tree, "/etc", "/run/resolvconf");
  await tree.run("systemctl", ["start", "fairlead-agent.service"]);

  const dry = await dns("install");
  expect(dry.stdout).toContain("/etc/resolv.conf (a link to ../run/resolvconf/resolv.conf) is made by resolvconf (debian)");
  expect(dry.stdout).toContain(`if your network serves them, start the agent with --dns-stub local=${fleet.out.ip}`);
  expect(dry.stdout).toContain("nothing was changed");
  expect(await filesOf(tree, "/etc", "/run/resolvconf")).toBe(before);
  const { exitCode } = await dns("install", "--write");
  expect(exitCode).toBe(0);
  await untilResolved(tree, WEB);
  await untilLists("127.0.0.153");
  expect(await resolvConf()).toContain("search lan.local");
  await untilResolved(tree, OUTSIDE);
  expect((await dns("status")).exitCode).toBe(0);

  await lease(`search lan.local\nnameserver ${fleet.out.ip}\n`); // renewed
  await untilLists("127.0.0.153");
  await tree.run("systemctl", ["stop", "fairlead-agent.service"]);
  await untilLists(fleet.out.ip);
  await tree.run("systemctl", ["start", "fairlead-agent.service"]);
  await untilLists("127.0.0.153");
  await untilResolved(tree, WEB);

  await dns("uninstall");
  expect((await dns("uninstall")).stdout).toBe("nothing of ours is in this host's resolver");
  await untilResolved(tree, OUTSIDE);
  expect(await filesOf(tree, "/etc", "/run/resolvconf")).toBe(before);
});
