import { createFleet, type Fleet, type Host } from "#test/fleet/fleet.ts";
import type { IptablesKind } from "#test/fleet/host.ts";
import { openStation, type Listen, type Station } from "#test/fleet/stations.ts";
import type { Sender } from "#test/packet/flows/flow.ts";
import { endpointPlacesOf, targetOf, type Row, type Target } from "#test/packet/flows/names.ts";
import type { IpFamily } from "#proto/ip.ts";
import { addressOf, FAMILIES, isMachine, LOCAL_CIDRS, RANGES, type Machine } from "#test/packet/flows/world.ts";

/** The world of the flow table (test/packet/flows/world.ts), built of network namespaces, with a station on each machine. */

export interface FlowWorld extends AsyncDisposable {
  readonly h1: Host;
  /** What asks on that machine. */
  sender(machine: Sender): Station;
}

// Two programs where a machine both asks and answers: tens of thousands of questions must not keep the answers waiting.
const SERVERS = ["h1", "h1c1", "h1c2", "h1vm", "h2", "h2c1", "h3", "sw"] as const;
const SENDERS = ["h1", "h1c1", "h1vm", "h2", "h2c1", "out"] as const;
type StationName = (typeof SERVERS | typeof SENDERS)[number];
/** Machines that send what is for services to host 1. */
const CLIENTS = ["h1vm", "h2", "out"] as const;

export async function buildFlowWorld(rows: readonly Row[], backend: IptablesKind, { hasSctp = false } = {}): Promise<FlowWorld> {
  await using fleet = new AsyncDisposableStack();
  const built = fleet.use(await createFleet({ hosts: 4, containersPerHost: [2, 1, 0], containerNetwork: "routed", backend }));
  const open = async (name: StationName): Promise<readonly [StationName, Station]> => [
    name,
    fleet.use(await openStation(built.host(fleetName(name)))),
  ];
  const [servers, senders] = [await Promise.all(SERVERS.map(open)), new Map(await Promise.all(SENDERS.map(open)))];
  await wire(built, rows);
  await Promise.all(
    servers.map(([name, station]) => station.listen(listensOf(rows, name).filter(({ protocol }) => hasSctp || protocol !== "sctp"))),
  );
  const everything = fleet.move();
  return {
    h1: built.hosts[0],
    sender(machine) {
      const station = senders.get(machine === "h1b" ? "h1" : machine);
      if (!station) throw new Error(`nobody asks on ${machine}`);
      return station;
    },
    [Symbol.asyncDispose]: () => everything.disposeAsync(),
  };
}

/** To the fleet a machine on the hosts' network is one more host. */
function fleetName(machine: string): string {
  return machine === "h1vm" ? "h4" : machine;
}

async function wire(fleet: Fleet, rows: readonly Row[]): Promise<void> {
  const ip = async (machine: string, lines: readonly string[]): Promise<void> => {
    await fleet.host(fleetName(machine)).run("ip", ["-batch", "-"], { input: `${lines.join("\n")}\n` });
  };
  const toHost1 = (range: Readonly<Record<IpFamily, string>>): string[] =>
    FAMILIES.map((family) => `route add ${range[family]} via ${addressOf("h1", family)}`);
  const toHost3 = (range: Readonly<Record<IpFamily, string>>): string[] =>
    FAMILIES.map((family) => `route add ${range[family]} via ${addressOf("h3", family)}`);
  for (const machine of CLIENTS) await ip(machine, Object.values(RANGES).flatMap(toHost1));
  await ip("out", toHost1(LOCAL_CIDRS));
  await ip("sw", [...toHost1(LOCAL_CIDRS), ...addressesFor(rows, "sw")]);
  await ip("h3", addressesFor(rows, "h3"));
  // The kernel limits how many ICMP errors it sends to one client; here many are refused side by side.
  await fleet.host("h1").run("sysctl", ["-q", "-w", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"]);
  await ip("h1", [
    `addr add ${addressOf("h1b", "IPv4")}/32 dev eth0`,
    // Deprecated: it is there, and nobody who is not told so sends from it.
    `addr add ${addressOf("h1b", "IPv6")}/128 dev eth0 nodad preferred_lft 0`,
    ...[RANGES.ext, RANGES.lb].flatMap(toHost3),
    // A port of a bridge does not send back where it came from, unless told: Docker tells it with --userland-proxy=false.
    ...["h1c1", "h1c2"].map((container) => `link set v-${container} type bridge_slave hairpin on`),
  ]);
}

/**
 * Who has the address that a row is sent to, where the data plane does not. Somebody listens there in any case: what leaks is answered and thereby seen,
 * and neither a refusal nor silence comes of nobody being there. Virtual IPs are the gateway's, other addresses of services are h3's.
 */
function ownerOf({ to }: Row): Machine | "sw" {
  const place = /^[\w-]+(?=[:/])/.exec(to)?.[0] ?? "";
  if (place === "lo") return "h1";
  if (isMachine(place)) return place === "h1b" || place === "bridge" ? "h1" : place;
  return /^(lb|ext)/.test(place) ? "h3" : "sw";
}

/** Rows of which no endpoint may hear. */
function othersOf(rows: readonly Row[], owner: Machine | "sw"): Target[] {
  return rows
    .filter((row) => typeof row.want === "string" && row.want !== "ECHO" && ownerOf(row) === owner)
    .flatMap((row) => FAMILIES.map((family) => targetOf(row, family)));
}

function addressesFor(rows: readonly Row[], owner: "h3" | "sw"): string[] {
  const own = new Set<string>(FAMILIES.map((family) => addressOf("h3", family)));
  const addresses = new Set(othersOf(rows, owner).map(({ address }) => address));
  return [...addresses].filter((address) => !own.has(address)).map((address) => `addr add ${address} dev lo`);
}

/** Everywhere where an endpoint is, ready or not, and where a row is sent that no endpoint may hear of. */
function listensOf(rows: readonly Row[], machine: StationName): Listen[] {
  const endpoints = rows.flatMap(endpointPlacesOf).filter(({ at }) => at === machine);
  const all = [
    ...endpoints.flatMap(({ at, port, protocol }) => FAMILIES.map((family) => ({ address: addressOf(at, family), port, protocol }))),
    ...othersOf(rows, machine).flatMap(({ protocol, ...place }) => (protocol === "icmp" ? [] : [{ ...place, protocol }])),
  ];
  // Host 1 listens at all of its addresses: what reaches it by mistake, at a virtual IP that it has on a device, is then seen.
  const places = all.map((place) => (machine === "h1" && place.protocol === "tcp" ? { ...place, address: "::" } : place));
  return [...new Map(places.map((place) => [`${place.protocol} ${place.address} ${place.port}`, place])).values()];
}
