import { execa } from "execa";
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { waitFor } from "../wait-for.ts";
import type { Host, Ran, RunOptions } from "./host.ts";
import type { Program } from "./program.ts";

// A booted Debian with systemd on a host of the fleet: real units, real systemd-resolved, and boots as often as a test likes. A tree is made once per
// machine and never written to; each host has a layer of its own over it, which outlives a reboot and goes with the fleet.

export const cacheFolder = "/var/cache/fairlead-test";
const base = ["systemd", "dbus", "iproute2", "iptables", "conntrack", "procps", "bind9-dnsutils", "curl"];
// Whoever makes /etc/resolv.conf; resolvconf and systemd-resolved cannot both be installed.
const RESOLVERS = {
  resolved: ["systemd-resolved", "libnss-resolve"],
  others: ["network-manager", "dnsmasq-base", "resolvconf"],
  // With what Ansible's modules are run by.
  managed: ["systemd-resolved", "libnss-resolve", "python3", "python3-apt"],
} as const;
export type TreeKind = keyof typeof RESOLVERS;
const suite = "bookworm";
const checkout = join(import.meta.dirname, "../..");

// The network outlives the tree, as it is the host's. With a machine these would go: devices that were made, and addresses of lo.
const FORGET = `
  for link in $(ls /sys/class/net); do case $link in lo | eth0) ;; *) ip link delete "$link" ;; esac; done
  ip address flush dev lo
  ip address add 127.0.0.1/8 dev lo`;

export interface SystemdTree extends AsyncDisposable {
  readonly host: Host;
  // Process 1, as this machine counts; undefined = it does not run.
  readonly leader: string | undefined;
  // Files before the first boot, and while it runs.
  write(path: string, text: string): Promise<void>;
  boot(): Promise<void>;
  // Ends all units in order, or pulls the plug.
  halt(how?: "in order" | "at once"): Promise<void>;
  run(file: string, args?: readonly string[], options?: RunOptions): Promise<Ran>;
}

export async function openSystemdTree(fleet: { readonly name: string }, host: Host, kind: TreeKind = "resolved"): Promise<SystemdTree> {
  const tree = await systemdTreeFolder(kind);
  const name = `fairlead-${fleet.name}-${host.name}`;
  const work = `/run/${name}`;
  const init = join(import.meta.dirname, "systemd-tree-init.sh");
  let holder: Program | undefined;
  let leader: string | undefined;

  const run = async (
    file: string,
    args: readonly string[] = [],
    { input, env, timeoutMs = 30_000, reject = true }: RunOptions = {},
  ): Promise<Ran> => {
    if (leader === undefined) throw new Error(`the tree on ${host.name} is not booted`);
    const inside = [
      "--target",
      leader,
      "--all",
      "env",
      "-i",
      "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
      ...Object.entries(env ?? {}).map(([key, value]) => `${key}=${value}`),
      file,
      ...args,
    ];
    const options = { timeout: timeoutMs, reject, maxBuffer: 100_000_000 };
    const { stdout, stderr, exitCode } = await execa(
      "nsenter",
      inside,
      input === undefined ? { ...options, stdin: "ignore" } : { ...options, input },
    );
    return { stdout, stderr, exitCode };
  };
  const write = async (path: string, text: string): Promise<void> => {
    const layer = `${work}/upper${path}`; // a layer that is mounted must not be written behind its back
    const [shell, at] = leader === undefined ? [host.run, layer] : [run, path];
    await shell("sh", ["-euc", 'mkdir -p "${1%/*}"; cat >"$1"', "sh", at], { input: text });
  };
  const halt = async (how: "in order" | "at once" = "in order"): Promise<void> => {
    if (!holder) return;
    if (how === "in order") await run("systemctl", ["poweroff"], { reject: false });
    else await holder.kill(); // and with it all that is in its namespaces
    const late = setTimeout(() => holder?.signal("SIGKILL"), 20_000);
    await holder.ended;
    clearTimeout(late);
    [holder, leader] = [undefined, undefined];
    await host.run("sh", ["-euc", FORGET]);
  };
  return {
    host,
    get leader() {
      return leader;
    },
    run,
    write,
    halt,
    async boot() {
      if (holder) throw new Error("it runs already");
      const program = await host.spawn("sh", [init, "boot", tree, work, name, checkout]);
      holder = program;
      const up = async (): Promise<boolean> => {
        leader ??= await childOf(program.pid);
        if (leader === undefined) return false;
        const { stdout } = await run("systemctl", ["is-system-running"], { reject: false });
        return /^(running|degraded)$/.test(stdout.trim());
      };
      await waitFor(up, { what: "systemd to be up", timeoutMs: 30_000, intervalMs: 50 }).catch(async (cause: unknown) => {
        throw new Error(`the tree did not boot: ${(await program.output()).slice(-3_000)}`, { cause });
      });
    },
    async [Symbol.asyncDispose]() {
      await halt("at once").finally(() => removeCgroup(name));
    },
  };
}

// Process 1 of the tree, as this machine counts: `unshare` has one child.
async function childOf(pid: number): Promise<string | undefined> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const [child] = children.split(" ").filter(Boolean);
  if (child === undefined) return undefined;
  const name = await readFile(`/proc/${child}/comm`, "utf8").catch(() => "");
  return name.trim() === "systemd" ? child : undefined; // until then it is the script that prepares the namespaces
}

/** Never written to. */
export async function systemdTreeFolder(kind: TreeKind): Promise<string> {
  return await cachedTree([...base, ...RESOLVERS[kind]]);
}

async function cachedTree(packages: readonly string[]): Promise<string> {
  const wanted = createHash("sha256")
    .update(JSON.stringify([suite, packages]))
    .digest("hex")
    .slice(0, 12);
  const tree = join(cacheFolder, `systemd-${wanted}`);
  if (await stat(tree).catch(() => undefined)) return tree;
  await mkdir(cacheFolder, { recursive: true });
  const draft = `${tree}.${process.pid}`;
  try {
    const log = await execa("mmdebstrap", ["--variant=minbase", `--include=${packages.join(",")}`, suite, draft], {
      timeout: 600_000,
      all: true,
      reject: false,
    });
    if (log.exitCode !== 0) throw new Error(`mmdebstrap could not make a Debian tree:\n${log.all.slice(-3_000)}`);
    // Without one, each boot is the first of its life, which enables whatever units there are.
    await writeFile(join(draft, "etc/machine-id"), "fa1f1ead000000000000000000000001\n");
    await writeFile(join(draft, "etc/hostname"), "tree\n");
    await rename(draft, tree).catch(async (error: unknown) => {
      if (!(await stat(tree).catch(() => undefined))) throw error; // another run was faster
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return tree;
}

async function removeCgroup(name: string): Promise<void> {
  const mounts = await readFile("/proc/self/mounts", "utf8");
  const root = mounts
    .split("\n")
    .map((line) => line.split(" "))
    .find(([, , type]) => type === "cgroup2")?.[1];
  if (root === undefined) return;
  // Deepest first; the kernel lets go of a group a moment after its last process.
  await waitFor(
    async () => {
      await execa("find", [join(root, name), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], { reject: false });
      return (await stat(join(root, name)).catch(() => undefined)) === undefined;
    },
    { what: `the cgroup ${name} to go`, timeoutMs: 5_000 },
  );
}
