import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import { Protocol } from "#proto/meta.ts";
import type { WorkloadPort, WorkloadSpec } from "#proto/workload.ts";
import type { Container, Network } from "./container.ts";
import type { WantedPort } from "./labels.ts";

/** Where others reach a container, and why there. Pure. */
export interface Place {
  /** Absent = the node's own. */
  readonly address?: string;
  readonly reach?: NonNullable<WorkloadSpec["reach"]>;
  readonly ports: readonly WorkloadPort[];
  /** For people: stands on the Workload. */
  readonly reason: string;
}

export interface PlaceFacts {
  /** By Id. */
  readonly networks: ReadonlyMap<string, Network>;
  readonly nodeIps: readonly string[];
  /** --docker-routed. */
  readonly routed?: RoutedFacts;
}

export interface RoutedFacts {
  /** Subnets to which all hosts of the fleet have a route; canonical. */
  readonly cidrs: readonly string[];
  /** Why one is not. */
  readonly refused: ReadonlyMap<string, string>;
}

/** Networks whose containers have addresses of the hosts' own network. */
const DIRECT = new Set(["macvlan", "ipvlan"]);

/** Throws, in words for people, when nobody could reach it. */
export function placeOf(container: Container, wanted: readonly WantedPort[], facts: PlaceFacts): Place {
  const mode = container.HostConfig.NetworkMode;
  if (mode === "none") throw new Error("it has no network");
  if (mode.startsWith("container:"))
    throw new Error(`it shares the network of another container (${mode.slice(10, 22)}): put the labels on that one`);
  const ports = wanted.length > 0 ? wanted : portsOf(container);
  if (ports.length === 0) throw new Error("its image exposes no port: name one with the label fairlead.port=80");
  if (mode === "host") return { ports, reason: "host network: the node's address" };
  // A published port before macvlan: its own host reaches that too.
  return (
    routed(container, ports, facts) ??
    published(container, ports, facts) ??
    direct(container, ports, facts) ??
    onBridge(container, ports, facts)
  );
}

function direct(container: Container, ports: readonly WantedPort[], { networks }: PlaceFacts): Place | undefined {
  for (const { name, driver, address } of attachments(container, networks))
    if (DIRECT.has(driver))
      return {
        address,
        reach: "OtherNodes",
        ports,
        reason: `${driver} network ${name}: the container's own address, which its own host does not reach`,
      };
  return undefined;
}

/** Before published ports: one way for all of its ports, without docker-proxy and a second translation, and the program sees port numbers that are its own. */
function routed(container: Container, ports: readonly WantedPort[], { networks, routed }: PlaceFacts): Place | undefined {
  for (const { name, address } of routed ? attachments(container, networks) : [])
    if (routed && cidrWith(routed.cidrs, address) !== undefined)
      return { address, ports, reason: `bridge ${name}, routed by --docker-routed: the container's own address, which all hosts reach` };
  return undefined;
}

function published(container: Container, ports: readonly WantedPort[], { nodeIps }: PlaceFacts): Place | undefined {
  const found = ports.flatMap((wanted) =>
    bindingsOf(container, wanted)
      .flatMap(({ HostIp, HostPort }) => {
        const address = addressAt(HostIp, nodeIps);
        return address !== undefined && Number(HostPort) > 0 ? [{ wanted, port: Number(HostPort), address }] : [];
      })
      .toSorted((a, b) => Number(a.address !== "") - Number(b.address !== ""))
      .slice(0, 1),
  );
  const [first] = found;
  if (!first) return undefined;
  const { address } = first;
  const together = found.filter((one) => one.address === address);
  const left = ports.filter((wanted) => !together.some((one) => one.wanted === wanted));
  const others = left.length === 0 ? "" : `; not published there, and left out: ${left.map(portText).join(", ")}`;
  const where = address === "" ? "the node's address" : address;
  return {
    ...(address !== "" && { address }),
    ports: together.map(({ wanted, port }) => ({ ...wanted, port, containerPort: wanted.port })),
    reason: `published: ${together.map(({ wanted, port }) => `${portText(wanted)} as ${where}:${port}`).join(", ")}${others}`,
  };
}

/** Where a port that is published at `hostIp` is reached from other hosts: "" = at the node's own address, undefined = nowhere. */
function addressAt(hostIp: string, nodeIps: readonly string[]): string | undefined {
  const firstOf = (family: string): string | undefined => nodeIps.find((ip) => parseIp(ip)?.family === family);
  if (hostIp === "") return "";
  if (hostIp !== "0.0.0.0" && hostIp !== "::") return nodeIps.find((ip) => ip === hostIp);
  const address = firstOf(hostIp === "::" ? "IPv6" : "IPv4");
  const own = firstOf("IPv4") ?? firstOf("IPv6"); // as the server chooses it for a Workload without an address
  return address === own && address !== undefined ? "" : address;
}

/** Its bridge has the same addresses on every host. */
function onBridge(container: Container, ports: readonly WantedPort[], { routed }: PlaceFacts): Place {
  const [network] = attachments(container, new Map());
  if (!network) throw new Error("it has no address on any network (yet)");
  const local = ports
    .flatMap((wanted) => bindingsOf(container, wanted))
    .map(({ HostIp, HostPort }) => `${HostIp.includes(":") ? `[${HostIp}]` : HostIp}:${HostPort}`);
  const but = local.length > 0 ? `published only at ${local.join(", ")}` : "not published";
  const publish = ports.map(({ port, protocol }) => `-p ${port}${protocol === "TCP" ? "" : `/${protocol.toLowerCase()}`}`).join(" ");
  return {
    address: network.address,
    reach: "Node",
    ports,
    reason: `${but}: only programs on this host reach it, at its address on the network ${network.name}; for all hosts, publish it (docker run ${publish})${whyNotRouted(network.address, routed)}`,
  };
}

function whyNotRouted(address: string, routed: RoutedFacts | undefined): string {
  const cidr = routed && cidrWith(routed.refused.keys(), address);
  return cidr === undefined ? "" : `, or have its network routed: ${cidr} ${routed?.refused.get(cidr) ?? ""}`;
}

function cidrWith(cidrs: Iterable<string>, address: string): string | undefined {
  const ip = parseIp(address);
  return (
    ip &&
    [...cidrs].find((text) => {
      const cidr = parseCidr(text);
      return cidr !== undefined && contains(cidr, ip);
    })
  );
}

function attachments(
  container: Container,
  networks: ReadonlyMap<string, Network>,
): readonly { readonly name: string; readonly driver: string; readonly address: string }[] {
  return Object.entries(container.NetworkSettings.Networks)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, { NetworkID, IPAddress, GlobalIPv6Address }]) => {
      const address = [IPAddress, GlobalIPv6Address].find((text) => parseIp(text) !== undefined);
      return address === undefined ? [] : [{ name, driver: networks.get(NetworkID)?.Driver ?? "", address }];
    });
}

function bindingsOf(container: Container, { port, protocol }: WantedPort) {
  return container.NetworkSettings.Ports[`${port}/${protocol.toLowerCase()}`] ?? [];
}

/** What the image exposes and the engine publishes. */
function portsOf(container: Container): WantedPort[] {
  return Object.keys(container.NetworkSettings.Ports)
    .flatMap((text): WantedPort[] => {
      const [, digits = "", protocol = ""] = /^(\d+)\/(tcp|udp|sctp)$/.exec(text) ?? [];
      const port = Number(digits);
      return port > 0 ? [{ port, protocol: Protocol.parse(protocol.toUpperCase()) }] : [];
    })
    .toSorted((a, b) => a.port - b.port || (a.protocol < b.protocol ? -1 : 1));
}

function portText({ port, protocol }: WantedPort): string {
  return `${port}/${protocol.toLowerCase()}`;
}
