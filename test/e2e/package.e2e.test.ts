import { execa } from "execa";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildDeb, buildTar, layOutTree } from "#tools/package/deb.ts";
import { helpPages } from "#tools/reference/help-pages.ts";
import { layOutProgram } from "#tools/package/program-files.ts";
import { createFleet, type Fleet, type Host } from "../fleet/fleet.ts";
import type { Ran } from "../fleet/host.ts";
import { openSystemdTree, type SystemdTree } from "../fleet/systemd-tree.ts";
import { waitFor } from "../wait-for.ts";

/** The life of a host with our Debian package, in a booted Debian: installed, set up, upgraded under traffic, removed. The tests follow one another. */

const checkout = join(import.meta.dirname, "../..");
const architecture = process.arch === "arm64" ? "arm64" : "amd64";
const node = process.execPath;
const VIP = "10.96.0.50";

let fleet: Fleet<readonly [Host, Host]>;
let tree: SystemdTree;
let packages: { readonly old: string; readonly next: string; readonly archive: string };
let before: Standing;
let folders: string;

const stack = new AsyncDisposableStack();
beforeAll(async () => {
  fleet = stack.use(await createFleet({ hosts: 2 }));
  const [built] = await Promise.all([
    buildPackages(),
    (async () => {
      tree = stack.use(await openSystemdTree(fleet, fleet.hosts[0]));
      await tree.boot();
    })(),
  ]);
  packages = built;
  before = await standing();
  folders = await foldersOfTheHost();
}, 600_000);
afterAll(() => stack.disposeAsync(), 60_000);

test("installing starts nothing, enables nothing, and the command line, manuals and completions are there", async () => {
  await dpkg("--install", packages.old);
  expect((await tree.run("fairlead", ["--version"])).stdout).toContain("0.1.0~test1");
  for (const unit of ["fairlead-server", "fairlead-agent"]) {
    expect((await tree.run("systemctl", ["is-active", unit], { reject: false })).stdout).toBe("inactive");
    expect((await tree.run("systemctl", ["is-enabled", unit], { reject: false })).stdout).toBe("disabled");
  }
  const { stdout, stderr } = await tree.run("systemd-analyze", ["verify", "fairlead-server.service", "fairlead-agent.service"], {
    reject: false,
    env: { SYSTEMD_LOG_LEVEL: "warning" },
  });
  expect(`${stdout}${stderr}`.split("\n").filter((line) => line.includes("fairlead") && !line.includes("Command 'man"))).toEqual([]); // no man in the tree
  const manual = await tree.run("sh", ["-c", "zcat /usr/share/man/man8/fairlead-agent.8.gz /usr/share/man/man1/fairlead-register.1.gz"]);
  expect(manual.stdout).toContain(".B \\-\\-token\\-file <file>");
  expect(manual.stdout).toContain(".SH EXAMPLES");
  const authors = await tree.run("find", [
    "/opt/fairlead/node_modules",
    "-regex",
    ".*\\(/tests?\\|/__tests__\\|/benchmarks?\\|\\.[cm]?ts\\)",
  ]);
  expect(authors.stdout).toBe(""); // what only the libraries' authors want
  expect((await tree.run("ls", ["/opt/fairlead/node_modules/.bin"])).stdout).toBe("node");
  await tree.run("bash", ["-n", "/usr/share/bash-completion/completions/fairlead"]);
  expect(await rules()).toBe(before.rules);
});

test("an agent that has not joined does not fail, it is not started", async () => {
  await tree.run("systemctl", ["start", "fairlead-agent"]);
  expect((await tree.run("systemctl", ["is-active", "fairlead-agent"], { reject: false })).stdout).toBe("inactive");
});

test("`fairlead up` makes a fleet of one, and both units are ready when they say so", async () => {
  const up = await setUp(tree, "server", packages.old);
  expect(up.stdout).toMatch(/another host joins with: .*sudo fairlead agent join https:\/\/\S+:7443 --token-file FILE/);
  const owner = await tree.run("sh", [
    "-c",
    "stat -c %U /var/lib/fairlead/server/store.db; ps -o user= $(systemctl show fairlead-server --property=MainPID --value)",
  ]);
  expect(owner.stdout).toBe("fairlead\nfairlead");
  const status = await tree.run("systemctl", ["show", "fairlead-agent", "--property=ActiveState,UnitFileState,StatusText,Type"]);
  expect(status.stdout).toMatch(/^Type=notify$/m);
  expect(status.stdout).toMatch(/^ActiveState=active$/m);
  expect(status.stdout).toMatch(/^UnitFileState=enabled$/m);
  expect(status.stdout).toMatch(/^StatusText=follows https:\/\/\S+; IPv4 by iptables/m);
  expect((await tree.run("curl", ["-sS", "http://127.0.0.1:10256/readyz"])).stdout).toBe("ok"); // no wait: it is ready
  await tree.run("sh", [
    "-c",
    `systemd-run --quiet --unit=web ${node} ${checkout}/test/fleet/http-echo.ts --id web-1 --listen ${fleet.hosts[0].ip}:8080`,
  ]);
  await tree.run("fairlead", ["register", "web-1", "--label", "app=web", "--port", "http=8080"]);
  const service = `apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { clusterIP: ${VIP}, selector: { app: web }, ports: [{ port: 80, targetPort: http }] }\n`;
  await tree.run("fairlead", ["apply", "-f", "-", "--wait"], { input: service });
  await waitFor(async () => (await tree.run("curl", ["-sS", "-m1", `http://${VIP}/`], { reject: false })).stdout.startsWith("web-1 "), {
    what: "web-1 to answer",
  });
  await untilNamed(tree);
});

test("a second host joins by what deploy/ does, with one command of ours", async () => {
  await using second = await openSystemdTree(fleet, fleet.hosts[1]);
  await second.write("/etc/hostname", "tree-2\n");
  await second.write("/etc/machine-id", "fa1f1ead000000000000000000000002\n");
  await second.boot();
  const { stdout: token } = await tree.run("fairlead", ["token", "create"]);
  await second.write("/run/join-token", token);
  const { stdout } = await setUp(second, "agent", packages.old, `https://${fleet.hosts[0].ip}:7443`, "/run/join-token");
  expect(stdout).toContain("fairlead-agent.service runs, and will at each boot");
  expect((await second.run("ls", ["/run/join-token"], { reject: false })).exitCode).toBe(2);
  expect((await second.run("curl", ["-sS", "-m2", `http://${VIP}/`])).stdout).toMatch(/^web-1 /);
  await untilNamed(second);
  expect((await tree.run("fairlead", ["status"], { reject: false })).stdout).toMatch(/^Nodes: +2 of 2 ready$/m);
  await second.run("systemctl", ["stop", "fairlead-agent"]);
  await tree.run("fairlead", ["delete", "node", "tree-2"]);
});

test("an agent that hangs is started anew by systemd's watchdog, and its rules stay", async () => {
  await tree.write("/run/systemd/system/fairlead-agent.service.d/test.conf", "[Service]\nWatchdogSec=5s\n");
  await tree.run("systemctl", ["daemon-reload"]);
  await tree.run("systemctl", ["restart", "fairlead-agent"]);
  const pid = await mainPid("fairlead-agent");
  await waitFor(async () => (await property("fairlead-agent", "WatchdogTimestampMonotonic")) !== "0", { what: "a beat" });
  const kept = await rules();
  await tree.run("kill", ["-STOP", pid]);
  await waitFor(async () => !["0", pid].includes(await mainPid("fairlead-agent")), { what: "another agent", timeoutMs: 20_000 });
  expect(await property("fairlead-agent", "NRestarts")).toBe("1");
  expect(await rules()).toBe(kept);
  await tree.run("rm", ["-r", "/run/systemd/system/fairlead-agent.service.d"]);
  await tree.run("systemctl", ["daemon-reload"]);
  await waitFor(async () => (await property("fairlead-agent", "ActiveState")) === "active", { what: "it to be ready" });
});

test("an upgrade under traffic loses no connection, keeps the settings, and both run as the new version", async () => {
  await tree.run("sh", ["-c", "echo '#mine' >>/etc/fairlead/server.yaml; echo '#mine' >>/etc/default/fairlead-agent"]);
  const [server, agent] = [await mainPid("fairlead-server"), await mainPid("fairlead-agent")];
  const stream = ["--unit=stream", "--property=StandardOutput=file:/run/stream", "curl", "-sSN", `http://${VIP}/stream`];
  await tree.run("systemd-run", ["--quiet", ...stream]);
  const upgrade = { isOver: false };
  const upgrading = dpkg("--install", packages.next).finally(() => (upgrade.isOver = true));
  for (let last = false; ; last = upgrade.isOver) {
    expect(await ask()).toEqual({ answers: { "web-1": 200 }, failures: {} });
    if (last) break; // one more after it
  }
  await upgrading;
  expect(await property("stream", "ActiveState")).toBe("active"); // its one connection is still there, and comes on
  const { stdout: lines } = await tree.run("cat", ["/run/stream"]);
  await waitFor(async () => (await tree.run("cat", ["/run/stream"])).stdout.length > lines.length, { what: "more of the stream" });
  await tree.run("systemctl", ["stop", "stream"]);
  for (const [unit, pid] of [
    ["fairlead-server", server],
    ["fairlead-agent", agent],
  ] as const) {
    expect(await property(unit, "ActiveState")).toBe("active");
    expect(await mainPid(unit)).not.toBe(pid);
    expect(await property(unit, "Result")).toBe("success");
  }
  expect((await tree.run("fairlead", ["version", "--server"])).stdout).toContain("0.1.0~test2");
  expect((await tree.run("tail", ["-qn1", "/etc/fairlead/server.yaml", "/etc/default/fairlead-agent"])).stdout).toBe("#mine\n#mine");
});

test("a boot brings both back, with nothing dropped for an ordering cycle", async () => {
  await tree.halt();
  await tree.boot();
  await waitFor(async () => (await tree.run("systemctl", ["is-system-running"], { reject: false })).stdout === "running", {
    what: "the boot to be over",
    timeoutMs: 30_000,
  });
  const log = await tree.run("sh", ["-c", "journalctl --boot --quiet --no-pager 2>/dev/null | grep -i 'ordering cycle' || true"]);
  expect(log.stdout).toBe("");
  for (const unit of ["fairlead-server", "fairlead-agent"]) expect(await property(unit, "ActiveState")).toBe("active");
});

test("removing takes rules and names away, and keeps who this host is", async () => {
  await dpkg("--remove", "fairlead");
  expect(await rules()).toBe(before.rules);
  expect((await tree.run("sh", ["-c", "ls /etc/fairlead/node.yaml /var/lib/fairlead/server/store.db"])).stdout.split("\n")).toHaveLength(2);
  expect((await tree.run("ps", ["-C", "node", "-o", "args="], { reject: false })).stdout).not.toContain("/opt/fairlead");
});

test("purging leaves files, users, units and rules as they were before", async () => {
  await dpkg("--purge", "fairlead");
  await tree.run("systemctl", ["stop", "web"], { reject: false });
  const after = await standing();
  expect(after.files).toEqual(before.files);
  expect(after).toEqual(before);
});

test("the archive, unpacked at / as its INSTALL says, touches no folder of the host, serves, and is gone again", async () => {
  await installSteps("Install");
  expect(await foldersOfTheHost()).toBe(folders);
  const up = await tree.run("fairlead", ["up"], { timeoutMs: 60_000 });
  expect(up.stdout).toContain("server and agent run, and will at each boot");
  await tree.run("sh", ["-c", "echo '#mine' >>/etc/fairlead/server.yaml"]);
  await installSteps("Upgrade");
  for (const unit of ["fairlead-server", "fairlead-agent"]) expect(await property(unit, "ActiveState")).toBe("active");
  expect((await tree.run("tail", ["-n1", "/etc/fairlead/server.yaml"])).stdout).toBe("#mine");
  expect((await tree.run("fairlead", ["get", "nodes", "-o", "name"])).stdout).toMatch(/^node\/\S+$/);
  await installSteps("Remove");
  expect((await standing()).files).toEqual(before.files);
  expect(await standing()).toEqual(before);
  expect(await foldersOfTheHost()).toBe(folders);
});

interface Standing {
  readonly files: readonly string[];
  readonly users: string;
  readonly units: string;
  readonly rules: string;
  readonly links: string;
  readonly settings: string;
}

/** All that a package might leave behind. What dpkg, the journal and systemd write about everything is not ours. */
async function standing(): Promise<Standing> {
  const sh = async (script: string): Promise<string> => (await tree.run("sh", ["-c", script])).stdout;
  const skipped = [
    "/var/lib/dpkg",
    "/var/log",
    "/var/lib/systemd",
    "/var/cache/ldconfig",
    "/tmp",
    "/var/tmp",
    checkout,
    "/etc/ld.so.cache",
  ];
  const files = await sh(
    `find / -xdev \\( ${skipped.map((path) => `-path ${path}`).join(" -o ")} \\) -prune -o ! -type d -printf '%p %y %m %u %s %l\\n' -o -printf '%p %y %m %u\\n' | grep -v '^/etc/\\(passwd\\|group\\|shadow\\|gshadow\\|subuid\\|subgid\\)-\\? \\|^/run/\\|^/etc/.pwd.lock' | sort`,
  );
  return {
    files: files.split("\n"),
    users: await sh("cat /etc/passwd /etc/group /etc/subuid /etc/subgid; cut -d: -f1 /etc/shadow /etc/gshadow"),
    units: await sh(
      "systemctl list-unit-files --no-legend --no-pager; systemctl list-units --all --no-legend --no-pager --plain fairlead\\* web\\*",
    ),
    rules: await rules(),
    links: await sh("ip -o -4 address show | sed 's/valid_lft.*//'; ip -o link show | cut -d: -f2; ip route; ip rule"),
    settings: await sh(
      "sysctl -a 2>/dev/null | grep -E 'route_localnet|ip_forward|be_liberal|bridge-nf|conf.all.forwarding|src_valid_mark' | sort",
    ),
  };
}

/** Links in the place of folders too: /lib is one wherever /usr is merged. */
async function foldersOfTheHost(): Promise<string> {
  const { stdout } = await tree.run("stat", [
    "-c",
    "%n %F %a %u",
    "/",
    "/lib",
    "/etc",
    "/opt",
    "/var",
    "/var/lib",
    "/usr",
    "/usr/bin",
    "/usr/lib",
  ]);
  return stdout;
}

/** The indented lines under a heading of INSTALL, which stands in the archive. */
async function installSteps(heading: "Install" | "Upgrade" | "Remove"): Promise<void> {
  const { stdout: text } = await execa("tar", ["-xzOf", packages.archive, "opt/fairlead/INSTALL"]);
  const section = text.split(/\n(?=[A-Z][a-z]+\n-+\n)/).find((part) => part.startsWith(`${heading}\n`)) ?? "";
  const steps = section.match(/^ {4}.+$/gm) ?? [];
  expect(steps.length).toBeGreaterThan(2);
  await tree.run("sh", ["-euc", `cd ${join(packages.archive, "..")}\n${steps.join("\n")}`], { timeoutMs: 60_000 });
}

async function rules(): Promise<string> {
  const { stdout } = await tree.run("sh", [
    "-c",
    "for family in iptables ip6tables; do $family-nft-save; $family-legacy-save; done 2>/dev/null",
  ]);
  return stdout
    .split("\n")
    .filter((line) => line.startsWith("-"))
    .join("\n");
}

/** systemd-resolved hears of the agent a moment after its start. */
async function untilNamed(on: SystemdTree): Promise<void> {
  const resolved = async () => (await on.run("getent", ["ahostsv4", "web.default.svc.cluster.local"], { reject: false })).stdout;
  await waitFor(async () => (await resolved()).startsWith(`${VIP} `), { what: "the name to be found", timeoutMs: 15_000 });
}

/** New connections, one each 5 ms. */
async function ask(): Promise<object> {
  const options = ["--url", `http://${VIP}/`, "--requests", "200", "--every-ms", "5", "--timeout-ms", "5000"];
  const { stdout } = await tree.run(node, [`${checkout}/test/fleet/http-ask.ts`, ...options], { timeoutMs: 60_000 });
  const { answers, failures } = JSON.parse(stdout) as { answers: object; failures: object }; // what http-ask says of itself
  return { answers, failures };
}

/** By the script of deploy/, as cloud-init and Vagrant run it. */
async function setUp(on: SystemdTree, ...args: readonly string[]): Promise<Ran> {
  return on.run("sh", [`${checkout}/deploy/fairlead-setup`, ...args], { timeoutMs: 120_000 });
}

async function dpkg(verb: string, what: string): Promise<void> {
  const { stdout, stderr, exitCode } = await tree.run("dpkg", [verb, what], {
    reject: false,
    timeoutMs: 120_000,
    env: { DEBIAN_FRONTEND: "noninteractive" },
  });
  expect({ exitCode, said: exitCode === 0 ? "" : `${stdout}\n${stderr}` }).toEqual({ exitCode: 0, said: "" });
}

const mainPid = (unit: string): Promise<string> => property(unit, "MainPID");

async function property(unit: string, name: string): Promise<string> {
  return (await tree.run("systemctl", ["show", unit, `--property=${name}`, "--value"])).stdout;
}

/** Of this checkout, as two versions; not compressed, because that takes most of the time. */
async function buildPackages(): Promise<typeof packages> {
  const out = stack.adopt(await mkdtempIn(join(checkout, "dist")), (folder) => rm(folder, { recursive: true, force: true }));
  const manuals = await helpPages();
  const program = join(out, "program");
  await layOutProgram(program, { architecture, version: "0.1.0~test1" });
  let archive = "";
  const build = async (version: string): Promise<string> => {
    await rm(archive, { force: true }); // the last one alone is asked for
    await execa("sed", ["-i", `s/"version": ".*"/"version": "${version}"/`, join(program, "package.json")]);
    const folder = join(out, version);
    await layOutTree(folder, program, { epoch: 1_700_000_000, manuals });
    const deb = await buildDeb(folder, { version, architecture, epoch: 1_700_000_000 }, { out, compression: "none" });
    archive = await buildTar(folder, { version, architecture, epoch: 1_700_000_000 }, { out: join(out, "archive"), level: 1 });
    await rm(folder, { recursive: true });
    return deb;
  };
  await mkdir(join(out, "archive"));
  const [old, next] = [await build("0.1.0~test1"), await build("0.1.0~test2")];
  return { old, next, archive };
}

async function mkdtempIn(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  return mkdtemp(join(folder, "test-"));
}
