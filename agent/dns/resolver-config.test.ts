import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { AppError } from "#proto/error.ts";
import { configureResolver, describeResolver, resolvConfFault, RESOLV_CONF_UNDO, unconfigureResolver } from "./resolver-config.ts";

interface Etc {
  readonly resolvConf: string;
  readonly resolved: "active" | "inactive" | "no systemctl";
}

/** A root with an /etc, and a systemctl that says what it is told to. */
async function hostWith({ resolvConf, resolved }: Etc) {
  const root = await mkdtemp(join(tmpdir(), "fairlead-resolver-"));
  onTestFinished(() => rm(root, { recursive: true }));
  await mkdir(join(root, "etc/systemd"), { recursive: true });
  await mkdir(join(root, "run"), { recursive: true });
  await writeFile(join(root, "run/stub-resolv.conf"), resolvConf);
  await symlink("../run/stub-resolv.conf", join(root, "etc/resolv.conf"));
  const calls: string[] = [];
  const tools: KernelTools = {
    async run(file, args) {
      calls.push([file, ...args].join(" "));
      if (resolved === "no systemctl") throw new AppError("KernelRejected", `${file} is not installed`);
      return { stdout: "", stderr: "", exitCode: args[0] === "is-active" && resolved === "inactive" ? 3 : 0 };
    },
    has: async () => resolved !== "no systemctl",
  };
  const dropIn = join(root, "etc/systemd/resolved.conf.d/fairlead.conf");
  return { root, tools, calls, dropIn, address: "127.0.0.153", dnsIp: "10.96.0.10", domain: "cluster.local" };
}

const stub = "nameserver 127.0.0.53\n";

test("systemd-resolved gets a drop-in with our address and the routing domain, once, and is restarted", async () => {
  const host = await hostWith({ resolvConf: stub, resolved: "active" });
  expect(await configureResolver(host)).toBe("changed");
  expect((await readFile(host.dropIn, "utf8")).split("\n").filter((line) => !line.startsWith("#"))).toEqual([
    "[Resolve]",
    "DNS=127.0.0.153",
    "Domains=~cluster.local",
    "",
  ]);
  expect(host.calls.at(-1)).toBe("systemctl reload-or-restart systemd-resolved.service");
  const before = host.calls.length;
  expect(await configureResolver(host)).toBe("unchanged");
  expect(host.calls.slice(before).filter((call) => call.includes("restart"))).toEqual([]);
});

test("undoing it leaves /etc as it was, with the folder where that was there before", async () => {
  const made = await hostWith({ resolvConf: stub, resolved: "active" });
  await configureResolver(made);
  expect(await unconfigureResolver(made)).toBe("changed");
  expect(await readdir(join(made.root, "etc/systemd"))).toEqual([]);
  expect(await unconfigureResolver(made)).toBe("unchanged");

  const there = await hostWith({ resolvConf: stub, resolved: "active" });
  await mkdir(join(there.root, "etc/systemd/resolved.conf.d"));
  await configureResolver(there);
  await unconfigureResolver(there);
  expect(await readdir(join(there.root, "etc/systemd"))).toEqual(["resolved.conf.d"]);
});

test("a folder that somebody else uses meanwhile stays", async () => {
  const host = await hostWith({ resolvConf: stub, resolved: "active" });
  await configureResolver(host);
  await writeFile(join(host.root, "etc/systemd/resolved.conf.d/other.conf"), "[Resolve]\n");
  await unconfigureResolver(host);
  expect(await readdir(join(host.root, "etc/systemd/resolved.conf.d"))).toEqual(["other.conf"]);
});

test("a file of that name that is not ours is neither replaced nor removed", async () => {
  const host = await hostWith({ resolvConf: stub, resolved: "active" });
  await mkdir(join(host.root, "etc/systemd/resolved.conf.d"));
  await writeFile(host.dropIn, "[Resolve]\nDNS=192.0.2.1\n");
  await expect(configureResolver(host)).rejects.toMatchObject({ code: "Conflict" });
  expect(await unconfigureResolver(host)).toBe("unchanged");
  expect(await readFile(host.dropIn, "utf8")).toBe("[Resolve]\nDNS=192.0.2.1\n");
});

test("the line for a host without a resolver of its own is the README's", async () => {
  const { line } = await describeResolver(await hostWith({ resolvConf: "nameserver 192.0.2.1\n", resolved: "inactive" }));
  const readme = await readFile(join(import.meta.dirname, "../../README.md"), "utf8");
  expect(readme).toContain(`\n${line.replace("; ", "\n")}\n`);
  expect(readme).toContain(RESOLV_CONF_UNDO);
});

const own = ["127.0.0.153", "10.96.0.10"];
test.for([
  [
    "the host's own copy",
    "nameserver 192.0.2.1\n",
    [],
    "put back what stood there: sudo cp /etc/resolv.conf.before-fairlead /etc/resolv.conf && ",
  ],
  [
    "whom it named before, without a copy",
    undefined,
    ["192.0.2.7", "192.0.2.8"],
    "printf 'nameserver 192.0.2.7\\nnameserver 192.0.2.8\\n' | sudo tee",
  ],
  ["what else there is, with a copy that names us, too", "nameserver 10.96.0.10\n", [], "put your network's own name servers there"],
] as const)("a resolv.conf that still names us is a fault that says to put there: %s", async ([, backup, known, hint]) => {
  const { root } = await hostWith({ resolvConf: "nameserver 10.96.0.10\n", resolved: "no systemctl" });
  if (backup !== undefined) await writeFile(join(root, "etc/resolv.conf.before-fairlead"), backup);
  expect(await resolvConfFault({ own, known, isKnownHost: true, root })).toMatchObject({
    message: expect.stringContaining("/etc/resolv.conf still names 10.96.0.10") as unknown,
    hint: expect.stringContaining(hint) as unknown,
  });
});

test("a resolv.conf that differs from the copy names us, where the fleet's addresses are not known any more", async () => {
  const { root } = await hostWith({ resolvConf: "nameserver 10.96.0.10\n", resolved: "no systemctl" });
  const check = { own: ["127.0.0.153"], known: [], isKnownHost: false, root };
  expect(await resolvConfFault(check)).toBeUndefined(); // whoever that is
  await writeFile(join(root, "etc/resolv.conf.before-fairlead"), "nameserver 192.0.2.1\n");
  expect((await resolvConfFault(check))?.message).toContain("10.96.0.10");
});

test("a resolv.conf that names others is no fault", async () => {
  const { root } = await hostWith({ resolvConf: "nameserver 192.0.2.1\n", resolved: "no systemctl" });
  expect(await resolvConfFault({ own, known: ["192.0.2.9"], isKnownHost: true, root })).toBeUndefined();
});

test.for([
  ["systemd-resolved does not run", { resolvConf: "nameserver 192.0.2.1\n", resolved: "inactive" }, "file"],
  ["there is no systemd", { resolvConf: "nameserver 192.0.2.1\n", resolved: "no systemctl" }, "file"],
  ["it runs, and the host does not ask it", { resolvConf: "nameserver 192.0.2.1\n", resolved: "active" }, "resolved-unused"],
] as const)("where %s, nothing is changed, and the refusal says what to do", async ([, etc, kind]) => {
  const host = await hostWith(etc);
  const description = await describeResolver(host);
  expect(description.kind).toBe(kind);
  await expect(configureResolver(host)).rejects.toMatchObject({
    code: "ServiceUnavailable",
    hint: expect.stringContaining(description.line) as unknown,
  });
  expect(await readdir(join(host.root, "etc/systemd"))).toEqual([]);
});
