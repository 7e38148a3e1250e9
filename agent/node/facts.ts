import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createHmac, randomUUID } from "node:crypto";
import { arch, hostname, release } from "node:os";
import { join } from "node:path";
import { isIPv6 } from "node:net";
import { AppError } from "#proto/error.ts";
import type { Node } from "#proto/node.ts";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { parseResolvConf, RESOLV_CONF } from "#agent/dns/upstreams.ts";
import { gatewaysOf, IpAddressJson, IpRouteJson, networkOf, overlappingRoute, reservedOf, type NodeNetwork } from "./network.ts";

/** What is true of this host; only looks. */

export interface LookOptions {
  readonly tools: KernelTools;
  /** The address that the way to it begins at comes first. A name has to be resolved, which may take a while. */
  readonly server?: string | undefined;
  readonly serviceCidrs: readonly string[];
  /** As the operator said at join; then no others are. */
  readonly addresses?: readonly string[] | undefined;
  readonly isClaimed?: ((address: string) => boolean) | undefined;
  readonly bridged?: readonly string[] | undefined;
  /** Name servers that the agent asks, besides those that the host's files name: where those name only the agent, nobody else knows them. */
  readonly askedServers?: (() => Promise<readonly string[]>) | undefined;
}

export async function lookAtNetwork(
  { tools, server, serviceCidrs, addresses = [], isClaimed, bridged, askedServers }: LookOptions,
  signal: AbortSignal,
): Promise<NodeNetwork> {
  const [{ stdout }, first, routes, nameServers, asked] = await Promise.all([
    tools.run("ip", ["-j", "address"], { signal, timeoutMs: 5000 }),
    server === undefined ? undefined : sourceAddressTo(server),
    routesOf(tools, ["show", "default"], signal),
    Promise.all(
      [RESOLV_CONF.host, RESOLV_CONF.resolved].map(async (file) => parseResolvConf(await readFile(file, "utf8").catch(() => ""))),
    ),
    askedServers?.() ?? [],
  ]);
  const found = networkOf(IpAddressJson.parse(JSON.parse(stdout)), { first, serviceCidrs, isClaimed, bridged });
  const reserved = reservedOf(gatewaysOf(routes), [...nameServers.flat(), ...asked]);
  return { ...found, reserved, ...(addresses.length > 0 && { addresses }) };
}

/** Of both families. */
async function routesOf(tools: KernelTools, what: readonly string[], signal: AbortSignal): Promise<IpRouteJson> {
  const read = async (family: string): Promise<IpRouteJson> => {
    const { stdout } = await tools.run("ip", ["-j", family, "route", ...what], { signal, timeoutMs: 5000 });
    return IpRouteJson.parse(JSON.parse(stdout.trim() === "" ? "[]" : stdout));
  };
  return (await Promise.all([read("-4"), read("-6")])).flat();
}

/** Throws Usage with the route's name when virtual IPs would hide somebody's network. */
export async function refuseOverlap(
  { tools, serviceCidrs }: Pick<LookOptions, "tools" | "serviceCidrs">,
  signal: AbortSignal,
): Promise<void> {
  const found = overlappingRoute(await routesOf(tools, ["show"], signal), serviceCidrs);
  if (found !== undefined)
    throw new AppError("Usage", `the range of virtual IPs ${found}: this host could no longer reach what is behind it`, {
      hint: "start the server with another --service-cidr, or remove the route",
    });
}

/** The address that packets to the server carry; asks the routing table, sends nothing. */
async function sourceAddressTo(server: string): Promise<string | undefined> {
  const host = new URL(server).hostname.replaceAll(/^\[|\]$/g, "");
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  try {
    socket.connect(9, host);
    await once(socket, "connect", { signal: AbortSignal.timeout(2000) });
    return socket.address().address;
  } catch {
    return undefined; // no route, or a name that is not known now: the order of the addresses is then the interfaces'
  } finally {
    socket.close();
  }
}

/** Tells this machine from another with its name. Where the system has no id, one is made once. */
export async function machineIdOf(stateDir: string): Promise<string> {
  const own = join(stateDir, "machine-id");
  for (const file of [own, "/etc/machine-id"]) {
    const text = (await readFile(file, "utf8").catch(() => "")).trim();
    if (/^[\w-]{8,128}$/.test(text)) return text;
  }
  const made = randomUUID();
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  await writeFile(own, `${made}\n`, { mode: 0o600 });
  return made;
}

export type NodeInfo = NonNullable<Node["status"]["nodeInfo"]>;

/** Every host may read a Node, and join asks for the id itself as a proof: what is published is made of it, as machine-id(5) recommends. */
function publicIdOf(machineId: string): string {
  return createHmac("sha256", machineId).update("fairlead Node.status.nodeInfo.machineID").digest("hex").slice(0, 32);
}

export async function nodeInfoOf(machineId: string): Promise<NodeInfo> {
  const osRelease = await readFile("/etc/os-release", "utf8").catch(() => "");
  const version = `fairlead ${await ownVersion()}`;
  return {
    machineID: publicIdOf(machineId),
    kernelVersion: release(),
    osImage: /^PRETTY_NAME="?([^"\n]*)/m.exec(osRelease)?.[1] ?? "Linux",
    kubeletVersion: version,
    kubeProxyVersion: version,
    architecture: arch() === "x64" ? "amd64" : arch(),
  };
}

export async function ownVersion(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, "../../package.json"), "utf8");
  const { version } = JSON.parse(text) as { version: string }; // our own file
  return version;
}

/** The name by which this host joins unless told otherwise. */
export function defaultNodeName(): string {
  return hostname().toLowerCase();
}
