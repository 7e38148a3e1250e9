import { access, lstat, readFile, readlink, realpath, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { isAppError } from "#proto/error.ts";
import type { PortHolder, ResolvConf, ResolverFacts } from "./facts.ts";

/** Looks at a host, and changes nothing. `root`: another folder in tests. */
export async function lookAtResolver({
  tools,
  root = "/",
}: {
  readonly tools: KernelTools;
  readonly root?: string;
}): Promise<ResolverFacts> {
  const [resolvConf, isResolvedActive, isNetworkManagerActive, port53, resolvconf, nsswitch, hasDocker, hasSystemd] = await Promise.all([
    readResolvConf(root),
    isActive(tools, "systemd-resolved.service"),
    isActive(tools, "NetworkManager.service"),
    portHolders(tools),
    resolvconfKind(root),
    readFile(join(root, "etc/nsswitch.conf"), "utf8").catch(() => ""),
    isThere(join(root, "run/docker.sock")).then(async (socket) => socket || tools.has("docker")),
    isThere(join(root, "run/systemd/system")),
  ]);
  return {
    resolvConf,
    resolved: {
      isActive: isResolvedActive,
      isStubBound: port53.some(({ address }) => address.startsWith("127.0.0.53")),
      isInNsswitch: /^hosts:.*\bresolve\b/m.test(nsswitch),
    },
    networkManager: { isActive: isNetworkManagerActive, usesDnsmasq: isNetworkManagerActive && (await usesDnsmasq(root)) },
    resolvconf,
    hasDocker,
    hasSystemd,
    port53,
  };
}

export async function readResolvConf(root = "/"): Promise<ResolvConf> {
  const path = join(root, "etc/resolv.conf");
  const [text, link, target, mounts] = await Promise.all([
    readFile(path, "utf8").catch(() => ""),
    readlink(path).catch(() => undefined),
    realpath(path).catch(() => undefined),
    readFile("/proc/self/mountinfo", "utf8").catch(() => ""),
  ]);
  return { text, link, target, isMount: target !== undefined && mounts.includes(` ${target} `) };
}

async function isActive(tools: KernelTools, unit: string): Promise<boolean> {
  try {
    const { exitCode } = await tools.run("systemctl", ["is-active", "--quiet", unit], { accept: [1, 3, 4], timeoutMs: 5000 });
    return exitCode === 0;
  } catch (error) {
    if (isAppError(error, "KernelRejected")) return false; // no systemctl here
    throw error;
  }
}

async function portHolders(tools: KernelTools): Promise<readonly PortHolder[]> {
  const { stdout } = await tools.run("ss", ["-Hlnup", "sport = :53"], { timeoutMs: 5000 }).catch(() => ({ stdout: "" }));
  return parsePortHolders(stdout);
}

/** `UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=7,fd=13))` */
export function parsePortHolders(text: string): readonly PortHolder[] {
  const holders = text.split("\n").flatMap((line) => {
    const local = line.trim().split(/\s+/)[3];
    if (local === undefined) return [];
    return [{ address: local.replace(/:53$/, "").replace(/^\[|\]$/g, ""), program: /users:\(\("([^"]+)"/.exec(line)?.[1] }];
  });
  return holders.toSorted((a, b) => (a.address < b.address ? -1 : 1));
}

/** systemd has a `resolvconf` too, which is resolvectl. */
async function resolvconfKind(root: string): Promise<ResolverFacts["resolvconf"]> {
  for (const folder of ["sbin", "usr/sbin", "usr/bin"]) {
    const path = join(root, folder, "resolvconf");
    const found = await lstat(path).catch(() => undefined);
    if (!found || (found.isSymbolicLink() && /resolvectl/.test(await readlink(path)))) continue;
    return (await isThere(join(root, "etc/resolvconf"))) ? "debian" : "openresolv";
  }
  return undefined;
}

async function usesDnsmasq(root: string): Promise<boolean> {
  const folder = join(root, "etc/NetworkManager");
  const more = await readdir(join(folder, "conf.d")).catch(() => []);
  const files = ["NetworkManager.conf", ...more.filter((name) => name.endsWith(".conf")).map((name) => join("conf.d", name))];
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8").catch(() => "")));
  return texts.some((text) => /^\s*dns\s*=\s*dnsmasq\s*$/m.test(text));
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
