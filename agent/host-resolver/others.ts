import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { AppError, isAppError } from "#proto/error.ts";
import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";
import type { LinkSettings } from "./link.ts";

/** NetworkManager's dnsmasq, and resolvconf: resolvers of other people, which have a place for such things. */

export const DNSMASQ_FILE = "/etc/NetworkManager/dnsmasq.d/fairlead.conf";
const MARK = "# Made by `fairlead dns install --write`; `fairlead dns uninstall` removes it.";

export interface OtherDeps {
  readonly tools: KernelTools;
  readonly root?: string | undefined;
}

/** Pure. */
export function renderDnsmasq({ server, domain, moreZones }: LinkSettings): string {
  // rebind: with --stop-dns-rebind dnsmasq would take our private addresses for an attack.
  return [MARK, ...[domain, ...moreZones].map((zone) => `server=/${zone}/${server}`), `rebind-domain-ok=/${domain}/`, ""].join("\n");
}

export async function installDnsmasq({ tools, root = "/" }: OtherDeps, settings: LinkSettings): Promise<void> {
  const path = join(root, DNSMASQ_FILE);
  const before = await readIfThere(path);
  if (before !== undefined && !before.startsWith(MARK))
    throw new AppError("Conflict", `${DNSMASQ_FILE} exists and is not ours, so it stays as it is`, { hint: "rename it" });
  await writeFile(path, renderDnsmasq(settings));
  await reload(tools);
}

export async function removeDnsmasq({ tools, root = "/" }: OtherDeps): Promise<"changed" | "unchanged"> {
  const path = join(root, DNSMASQ_FILE);
  if ((await readIfThere(path))?.startsWith(MARK) !== true) return "unchanged";
  await rm(path);
  await reload(tools);
  return "changed";
}

/** NetworkManager starts its dnsmasq anew. */
async function reload(tools: KernelTools): Promise<void> {
  await tools.run("nmcli", ["general", "reload", "dns-full"], { timeoutMs: 20_000 });
}

/** `lo.`: resolvconf puts it first, and cuts its list behind a loopback address, so that the host lists us and only us. */
export const RESOLVCONF_NAME = "lo.fairlead";

/** How resolvconf is told. openresolv has a word for "only this one". Pure. */
export function resolvconfCall(kind: "debian" | "openresolv", what: "add" | "remove"): readonly string[] {
  if (what === "remove") return ["-d", RESOLVCONF_NAME];
  return kind === "openresolv" ? ["-x", "-a", RESOLVCONF_NAME] : ["-a", RESOLVCONF_NAME];
}

/** With the host's own search list, which openresolv would leave out beside a server that stands alone. `text`: the file as it is now. Pure. */
export function renderResolvconfEntry(text: string): string {
  const kept = text.split("\n").filter((line) => /^\s*(search|domain)\s/.test(line));
  return [`nameserver ${HOST_LOCAL_ADDRESS}`, ...kept.map((line) => line.trim()), ""].join("\n");
}

export async function addToResolvconf(tools: KernelTools, kind: "debian" | "openresolv", text: string): Promise<void> {
  await tools.run("resolvconf", resolvconfCall(kind, "add"), { input: renderResolvconfEntry(text), timeoutMs: 20_000 });
}

export async function removeFromResolvconf(tools: KernelTools): Promise<"changed" | "unchanged"> {
  try {
    await tools.run("resolvconf", resolvconfCall("debian", "remove"), { timeoutMs: 20_000 });
    return "changed";
  } catch (error) {
    if (isAppError(error, "KernelRejected")) return "unchanged"; // it knows none of that name, or is not there any more
    throw error;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  });
}
