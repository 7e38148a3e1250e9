import { parseIp } from "#proto/ip.ts";
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
}

/** Networks whose containers have addresses of the hosts' own network. */
const DIRECT = new Set(["macvlan", "ipvlan"]);
const ANYWHERE = new Set(["", "0.0.0.0", "::"]);

/** Throws, in words for people, when nobody could reach it. */
export function placeOf(container: Container, wanted: readonly WantedPort[], facts: PlaceFacts): Place {
  const mode = container.HostConfig.NetworkMode;
  if (mode === "none") throw new Error("it has no network");
  if (mode.startsWith("container:"))
    throw new Error(`it shares the network of another container (${mode.slice(10, 22)}): put the labels on that one`);
  const ports = wanted.length > 0 ? wanted : portsOf(container);
  if (ports.length === 0) throw new Error("its image exposes no port: name one with the label fairlead.port=80");
  if (mode === "host") return { ports, reason: "host network: the node's address" };
  return direct(container, ports, facts) ?? published(container, ports, facts) ?? onBridge(container, ports);
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

function published(container: Container, ports: readonly WantedPort[], { nodeIps }: PlaceFacts): Place | undefined {
  const found = ports.flatMap((wanted) => {
    const bindings = bindingsOf(container, wanted).filter(({ HostIp }) => ANYWHERE.has(HostIp) || nodeIps.includes(HostIp));
    const [binding] = bindings.toSorted((a, b) => Number(a.HostIp !== "") - Number(b.HostIp !== ""));
    const port = Number(binding?.HostPort);
    return binding && port > 0 ? [{ wanted, port, at: ANYWHERE.has(binding.HostIp) ? undefined : binding.HostIp }] : [];
  });
  const at = found[0]?.at;
  const together = found.filter((one) => one.at === at);
  if (together.length === 0) return undefined;
  const left = ports.filter((wanted) => !together.some((one) => one.wanted === wanted));
  const others = left.length === 0 ? "" : `; not published there, and left out: ${left.map(portText).join(", ")}`;
  return {
    ...(at !== undefined && { address: at }),
    ports: together.map(({ wanted, port }) => ({ ...wanted, port, containerPort: wanted.port })),
    reason: `published: ${together.map(({ wanted, port }) => `${portText(wanted)} as ${at ?? "the node's address"}:${port}`).join(", ")}${others}`,
  };
}

/** Its bridge has the same addresses on every host. */
function onBridge(container: Container, ports: readonly WantedPort[]): Place {
  const [network] = attachments(container, new Map());
  if (!network) throw new Error("it has no address on any network (yet)");
  const local = ports.flatMap((wanted) => bindingsOf(container, wanted)).map(({ HostIp, HostPort }) => `${HostIp}:${HostPort}`);
  const but = local.length > 0 ? `published only at ${local.join(", ")}` : "not published";
  const publish = ports.map(({ port, protocol }) => `-p ${port}${protocol === "TCP" ? "" : `/${protocol.toLowerCase()}`}`).join(" ");
  return {
    address: network.address,
    reach: "Node",
    ports,
    reason: `${but}: only programs on this host reach it, at its address on the network ${network.name}; for all hosts, publish it (docker run ${publish})`,
  };
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
