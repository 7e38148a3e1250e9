import { readdir, readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { AppError, isAppError } from "#proto/error.ts";
import { parseIp } from "#proto/ip.ts";

/**
 * systemd-resolved asks by link: a link of our own with domains that only route, and it asks us for these names and nobody else for them; us for no others.
 * No file is edited, and a boot without an agent finds nothing of it.
 */
export const DNS_LINK = "fairlead-dns";

/** resolved looks only at links that are up, have a carrier, and an address that is valid beyond the link and the host. */
const DEVICE_TYPES = ["dummy", "bridge", "ifb"];
/** What resolved keeps of each link, by its index: it is put back from there when resolved starts again. Compared, never parsed. */
const KEPT_BY_RESOLVED = "run/systemd/resolve/netif";

export interface LinkSettings {
  readonly server: string;
  readonly domain: string;
  /** Further domains, and reverse zones. */
  readonly moreZones: readonly string[];
}

/** What resolvectl is asked, in order. `may fail`: older ones lack it, and what they do without it is right. Pure. */
export function resolvectlCalls({
  server,
  domain,
  moreZones,
}: LinkSettings): readonly (readonly [call: readonly string[], must: "must" | "may fail"])[] {
  // ~: these names are asked here, and are no suffix to try. Without it resolved refuses *.local and asks nobody.
  const domains = [domain, ...moreZones].map((zone) => `~${zone}`);
  return [
    [["dns", DNS_LINK, server], "must"],
    [["domain", DNS_LINK, ...domains], "must"],
    [["default-route", DNS_LINK, "no"], "may fail"],
    // What the host wants of its other servers cannot be had of us: the domain is unsigned, and nobody listens between us.
    [["dnssec", DNS_LINK, "no"], "may fail"],
    [["dnsovertls", DNS_LINK, "no"], "may fail"],
    [["llmnr", DNS_LINK, "no"], "may fail"],
    [["mdns", DNS_LINK, "no"], "may fail"],
  ];
}

/** Makes it so; what is there already is asked for again and stays. Returns what to compare later: see isLinkKept. */
export async function applyLink(settings: LinkSettings, tools: KernelTools, signal?: AbortSignal): Promise<string> {
  const options = { timeoutMs: 10_000, ...(signal && { signal }) };
  const type = (await linkExists()) ? undefined : await addLink(tools, options);
  const prefix = parseIp(settings.server)?.family === "IPv6" ? 128 : 32;
  await tools.run(
    "ip",
    ["address", "replace", `${settings.server}/${prefix}`, "dev", DNS_LINK, ...(prefix === 128 ? ["nodad"] : [])],
    options,
  );
  if (type === undefined) await tools.run("ip", ["link", "set", DNS_LINK, "up"], options);
  for (const [call, must] of resolvectlCalls(settings))
    try {
      await tools.run("resolvectl", call, options);
    } catch (error) {
      if (must === "must" || !isAppError(error, "KernelRejected")) throw error;
    }
  const fingerprint = await fingerprintOf(settings.server);
  // Somebody may have undone it meanwhile, and what is compared later must be what was wanted.
  if (!fingerprint.includes(" up ") || ![settings.server, settings.domain].every((word) => fingerprint.includes(word)))
    throw new AppError("KernelRejected", `systemd-resolved does not hold what it was told of ${DNS_LINK}`, {
      hint: `\`resolvectl status ${DNS_LINK}\` shows what it holds`,
    });
  return fingerprint;
}

/** Without starting a program: is it as it was after applyLink? */
export async function isLinkKept(server: string, fingerprint: string): Promise<boolean> {
  return (await fingerprintOf(server)) === fingerprint;
}

async function fingerprintOf(server: string): Promise<string> {
  const index = await readFile(`/sys/class/net/${DNS_LINK}/ifindex`, "utf8").catch(() => "");
  const isUp = networkInterfaces()[DNS_LINK]?.some(({ address }) => address === server) === true; // only links that are up are listed
  const kept = await readFile(join("/", KEPT_BY_RESOLVED, index.trim() || "none"), "utf8").catch(() => "");
  return `${index.trim()} ${isUp ? "up" : "down"} ${kept}`;
}

/** "unchanged" = there was none. */
export async function removeLink(tools: KernelTools): Promise<"changed" | "unchanged"> {
  if (!(await linkExists())) return "unchanged";
  await tools.run("ip", ["link", "delete", DNS_LINK], { timeoutMs: 10_000 });
  return "changed";
}

export async function linkExists(): Promise<boolean> {
  const links: readonly string[] = await readdir("/sys/class/net").catch(() => []);
  return links.includes(DNS_LINK);
}

async function addLink(tools: KernelTools, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<string> {
  const why: string[] = [];
  for (const type of DEVICE_TYPES) {
    try {
      await tools.run("ip", ["link", "add", DNS_LINK, "type", type], options);
    } catch (error) {
      if (!isAppError(error, "KernelRejected")) throw error;
      why.push(error.message);
      continue;
    }
    await tools.run("ip", ["link", "set", DNS_LINK, "up"], options);
    if ((await readFile(`/sys/class/net/${DNS_LINK}/carrier`, "utf8").catch(() => "")).trim() === "1") return type;
    await tools.run("ip", ["link", "delete", DNS_LINK], options);
    why.push(`a ${type} device has no carrier here`);
  }
  throw new AppError("KernelRejected", `no network device can be made for systemd-resolved: ${why.join("; ")}`, {
    hint: `one of these kernel modules is needed: ${DEVICE_TYPES.join(", ")}`,
  });
}
