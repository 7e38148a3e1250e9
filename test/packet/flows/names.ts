import type { IpFamily } from "#proto/ip.ts";
import type { Protocol } from "#proto/meta.ts";
import type { Packet } from "../packet.ts";
import type { Flow, Instead } from "./flow.ts";
import { addressIn, addressOf, isMachine, LOOPBACK, type Machine } from "./world.ts";

/** From the symbols of a row to addresses and ports of one family. */

export interface Row extends Flow {
  /** Its place in the whole table: what its services have in addresses and ports follows from it. */
  readonly index: number;
}

/** Each row has so many addresses of each range, and so many node ports. */
const ADDRESSES_PER_ROW = 4;
const NODE_PORTS_PER_ROW = 6;
const FIRST_ADDRESS = 0x0110;
const FIRST_NODE_PORT = 30_000;
/** Of the addresses of a row, the last is nobody's. */
const GAP = ADDRESSES_PER_ROW - 1;
const FAR_GAP = 0xc3c3;

export function numberOf({ index }: Pick<Row, "index">, service: number): number {
  if (service >= GAP) throw new Error("a row has no room for so many services");
  return FIRST_ADDRESS + index * ADDRESSES_PER_ROW + service;
}

export function vipOf(row: Row, service: number, family: IpFamily): string {
  const { vip } = row.services[service] ?? {};
  return addressIn("vip", vip === "first" ? 1 : vip === "last" ? 0xfffe : numberOf(row, service), family);
}

export function nodePortOf({ index }: Pick<Row, "index">, service: number, port: number): number {
  return FIRST_NODE_PORT + index * NODE_PORTS_PER_ROW + service * (NODE_PORTS_PER_ROW / 2) + port;
}

export interface Target {
  readonly address: string;
  /** 0 for icmp. */
  readonly port: number;
  readonly protocol: Packet["protocol"];
}

export function targetOf(row: Row, family: IpFamily): Target {
  if (row.to.endsWith("/ping")) return { address: placeOf(row, row.to.slice(0, -"/ping".length), family), port: 0, protocol: "icmp" };
  const {
    place = "",
    port = "",
    protocol = "tcp",
  } = /^(?<place>[\w-]+):(?<port>[\w-]+)(\/(?<protocol>tcp|udp|sctp))?$/.exec(row.to)?.groups ?? {};
  const { service = "1", nth = "1" } = /^np(?<service>\d)?(-(?<nth>\d))?$/.exec(port)?.groups ?? {};
  const number = port.startsWith("np") ? nodePortOf(row, Number(service) - 1, Number(nth) - 1) : Number(port);
  if (!(number > 0)) throw new Error(`row ${row.name}: cannot be sent to ${row.to}`);
  return { address: placeOf(row, place, family), port: number, protocol: protocol as Packet["protocol"] };
}

/** `vip2` is of the second service. */
function placeOf(row: Row, place: string, family: IpFamily): string {
  if (isMachine(place)) return addressOf(place, family);
  const { kind = "", nth = "1" } = /^(?<kind>[a-z-]+?)(?<nth>\d)?$/.exec(place)?.groups ?? {};
  const service = Number(nth) - 1;
  switch (kind) {
    case "lo":
      return LOOPBACK[family];
    case "vip":
      return vipOf(row, service, family);
    case "lb":
    case "ext":
      return addressIn(kind, numberOf(row, service), family);
    case "gap":
      return addressIn("vip", FIRST_ADDRESS + row.index * ADDRESSES_PER_ROW + GAP, family);
    case "far-gap":
      return addressIn("vip", FAR_GAP, family);
    default:
      throw new Error(`row ${row.name}: there is no place ${place}`);
  }
}

/** Every endpoint of the row, ready or not. */
export function endpointPlacesOf(row: Row): readonly { at: Machine; port: number; protocol: "tcp" | "udp" | "sctp" }[] {
  return row.services.flatMap(({ endpoints = [], spec }) =>
    (spec?.ports ?? [{ port: 80 }]).flatMap(({ protocol = "TCP", targetPort }) =>
      endpoints.map(({ at, port }) => ({ at, port: targetPortOf(port, targetPort, protocol), protocol: WORD[protocol] })),
    ),
  );
}

const WORD = { TCP: "tcp", UDP: "udp", SCTP: "sctp" } as const satisfies Record<Protocol, Packet["protocol"]>;

/** As the server's controller writes it into a slice: a named target port is a number there. */
export function targetPortOf(own: number | undefined, targetPort: string | number | undefined, protocol: Protocol): number {
  return own ?? (typeof targetPort === "number" ? targetPort : DEFAULT_TARGET_PORT[protocol]);
}

/** `address:port`, `[address]:port`: as Outcome.to has it, and as the servers of the kernel walk call themselves. */
export function hostPort(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

export interface Wanted {
  readonly to: string;
  readonly share: number;
}

/** What must come of a row: ways with their shares, sorted; or one of those that are no endpoint. */
export function wantedOf(row: Row, want: Flow["want"], family: IpFamily): readonly Wanted[] {
  const target = targetOf(row, family);
  if (want === "UNTOUCHED") return [{ to: hostPort(target.address, target.port), share: 1 }];
  if (!isEndpoints(want)) return [{ to: want, share: 1 }];
  const each = want.map((word, i) => ({ to: endpointOf(row, word, family), share: row.shares?.[i] ?? 1 / want.length }));
  return each.toSorted((a, b) => (a.to < b.to ? -1 : 1));
}

export function isEndpoints(want: Flow["want"]): want is readonly string[] {
  return typeof want !== "string";
}

export const INSTEAD: ReadonlySet<string> = new Set<Instead>(["REJECT", "DROP", "REFUSED", "ECHO"]);

const DEFAULT_TARGET_PORT: Record<Protocol, number> = { TCP: 8080, UDP: 5353, SCTP: 8080 };

function endpointOf(row: Row, word: string, family: IpFamily): string {
  const [machine = "", port] = word.split(":");
  if (!isMachine(machine)) throw new Error(`row ${row.name}: there is no endpoint at ${machine}`);
  return hostPort(addressOf(machine satisfies Machine, family), Number(port ?? (row.to.endsWith("/udp") ? 5353 : 8080)));
}
