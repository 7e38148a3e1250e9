import { contains, parseCidr, parseIp } from "#proto/ip.ts";
import type { NftTable } from "./nft-model.ts";
import type { Packet, Surroundings } from "./packet.ts";

/** What an expression of nft is worth for a packet: each possible value with its share. Only what our own rules say is understood. */

export interface State {
  readonly address: string;
  readonly port: number;
  readonly translated: boolean;
  readonly masqueraded: boolean;
  /** The host itself answers a ping. */
  readonly echoed: boolean;
  readonly share: number;
  readonly remembered: string | undefined;
  /** The packet's. */
  readonly priority: number;
}

export interface Walk {
  readonly table: NftTable;
  readonly packet: Packet;
  readonly around: Surroundings;
  readonly family: "ip" | "ip6";
}

export interface Valued {
  readonly value: string;
  readonly share: number;
}

export function isHere({ around }: Walk, address: string): boolean {
  return around.hostIps.includes(address) || address === "::1" || address.startsWith("127.");
}

/** A concatenation, as it is a key of a set. */
export function valuesOf(walk: Walk, expression: string, state: State): readonly Valued[] {
  let values: readonly Valued[] = [{ value: "", share: 1 }];
  for (const part of partsOf(expression)) {
    const next = partValues(walk, part, state);
    values = values.flatMap((head) =>
      next.map((tail) => ({ value: head.value === "" ? tail.value : `${head.value} . ${tail.value}`, share: head.share * tail.share })),
    );
  }
  return values;
}

/** `jhash A . B mod N seed S . C` is two parts. */
function partsOf(expression: string): readonly string[] {
  const parts: string[] = [];
  for (const word of expression.split(" . ")) {
    const last = parts.at(-1);
    if (last !== undefined && last.startsWith("jhash ") && !last.includes(" seed ")) parts[parts.length - 1] = `${last} . ${word}`;
    else parts.push(word);
  }
  return parts;
}

function partValues(walk: Walk, part: string, state: State): readonly Valued[] {
  const draw = /^numgen random mod (\d+)(?: offset (\d+))?$/.exec(part);
  if (draw) {
    const count = Number(draw[1]);
    return Array.from({ length: count }, (_, i) => ({ value: String(i + Number(draw[2] ?? 0)), share: 1 / count }));
  }
  const hash = /^jhash (.+) mod \d+ seed (\S+)$/.exec(part);
  if (hash) return [{ value: `hash-${hash[2]}(${valuesOf(walk, hash[1] ?? "", state)[0]?.value})`, share: 1 }];
  return [{ value: fieldOf(walk, part, state), share: 1 }];
}

function fieldOf({ packet, family }: Walk, field: string, state: State): string {
  switch (field.replace(/\bip6\b/, "ip")) {
    case "ip saddr":
      return packet.source;
    case "ip daddr":
      return state.address;
    case "th dport":
      return String(state.port);
    case "th sport":
      return "40000";
    case "meta l4proto":
      return packet.protocol === "icmp" && family === "ip6" ? "ipv6-icmp" : packet.protocol;
    case "meta priority":
      return `0x${state.priority.toString(16)}`;
    case "ct original ip daddr":
      return packet.address;
    case "ct original proto-dst":
      return String(packet.port);
    case "ct reply ip saddr":
      return state.address;
    case "ct reply proto-src":
      return String(state.port);
    default:
      throw new Error(`the tracer does not know ${field}`);
  }
}

export function isIn(walk: Walk, set: string, value: string): boolean {
  const { declaration, elements } = walk.table.sets.get(set) ?? missing(set);
  return declaration.includes("flags interval") ? [...elements.keys()].some((range) => inRange(range, value)) : elements.has(value);
}

export function inRange(range: string, address: string): boolean {
  const cidr = parseCidr(range);
  const ip = parseIp(address);
  if (!ip) throw new Error(`not an address: ${address}`);
  return cidr ? contains(cidr, ip) : range === address;
}

/** Maps that packets fill have what the surroundings say; `affinity KEY = VALUE` is how a state says what it put there. */
export function lookUp({ table, around, packet }: Walk, map: string, key: string): string | undefined {
  const { declaration, elements } = table.sets.get(map) ?? missing(map);
  if (!declaration.includes("dynamic")) return elements.get(key);
  const known = [...(around.remembered ?? [])].find(
    ([place, clients]) => place.startsWith(`${map} ${key} = `) && clients.has(packet.source),
  );
  return known?.[0].split(" = ")[1];
}

function missing(name: string): never {
  throw new Error(`no set ${name}`);
}
