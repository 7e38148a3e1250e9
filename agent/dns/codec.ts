import type DNS from "dns2";
import type { RecordData } from "#agent/compile/dns-records.ts";
import { parseIp } from "#proto/ip.ts";
import { Packet } from "./dns2-packet.ts";
import { keyOfName, wireOfKey } from "./name.ts";
import { CLASS_IN, TTL_SECONDS, TYPE } from "./protocol.ts";

/**
 * Records as bytes: type, class, TTL, length and data, without the owner's name, which whoever builds a message puts before. dns2 encodes the kinds with
 * structure; it works in time square of the size of what it writes, so it sees one record at a time, and only when a name is asked for the first
 * time. Addresses, SRV and PTR, of which a name may have thousands, are packed here. Nothing of dns2 decodes anything from the network.
 */
export type RecordBody = Buffer;

const NAMED = ["A", "AAAA", "CNAME", "NS", "PTR", "SRV", "TXT"] as const satisfies readonly RecordData["type"][];
const BY_NUMBER: ReadonlyMap<number, RecordData["type"]> = new Map(NAMED.map((type) => [TYPE[type], type]));

/** undefined = records are never of that type. */
export const typeNamed = (type: number): RecordData["type"] | undefined => BY_NUMBER.get(type);

/** undefined where the record holds a name that DNS cannot carry. */
export function encodeRecord(record: RecordData): RecordBody | undefined {
  switch (record.type) {
    case "A":
    case "AAAA":
      return body(TYPE[record.type], addressOctets(record.address));
    case "PTR":
      return named(record.target, (target) => body(TYPE.PTR, target));
    case "SRV":
      return named(record.target, (target) => {
        const fixed = Buffer.alloc(6);
        fixed.writeUInt16BE(record.weight, 2);
        fixed.writeUInt16BE(record.port, 4);
        return body(TYPE.SRV, Buffer.concat([fixed, target])); // RFC 2782: the target is not compressed
      });
    case "CNAME":
      return named(record.target, () => structured(TYPE.CNAME, { domain: record.target }));
    case "NS":
      return named(record.target, () => structured(TYPE.NS, { ns: record.target }));
    case "TXT":
      return record.text.length > 255 ? undefined : structured(TYPE.TXT, { data: record.text }, record.ttl);
  }
}

/** The SOA of a zone; `domain` names its server. Its TTL and minimum are how long a negative answer may be kept. */
export function encodeSoa(domain: string, serial: number): RecordBody {
  return structured(TYPE.SOA, {
    primary: `ns.dns.${domain}`,
    admin: `hostmaster.${domain}`,
    serial,
    refresh: 7200,
    retry: 1800,
    expiration: 86_400,
    minimum: TTL_SECONDS,
  });
}

/** RFC 8482: what a question for ANY gets. */
export function encodeAnyRefusal(): RecordBody {
  return body(TYPE.HINFO, Buffer.from("\x07RFC8482\x00", "latin1"));
}

function body(type: number, data: Buffer): RecordBody {
  const octets = Buffer.allocUnsafe(10 + data.length);
  octets.writeUInt16BE(type, 0);
  octets.writeUInt16BE(CLASS_IN, 2);
  octets.writeUInt32BE(TTL_SECONDS, 4);
  octets.writeUInt16BE(data.length, 8);
  data.copy(octets, 10);
  return octets;
}

/** Fields of dns2 that only some kinds have. */
type Fields = Pick<
  DNS.Packet.Resource,
  "domain" | "ns" | "data" | "primary" | "admin" | "serial" | "refresh" | "retry" | "expiration" | "minimum"
>;

function structured(type: number, data: Fields, ttl: number = TTL_SECONDS): RecordBody {
  // dns2's type asks for a method that its encoder never calls.
  const octets = Packet.Resource.encode({ name: "", type, class: CLASS_IN, ttl, ...data } as DNS.Packet.Resource);
  return octets.subarray(1); // behind the owner, the root's one octet
}

function named(target: string, encode: (wire: Buffer) => RecordBody): RecordBody | undefined {
  const key = keyOfName(target);
  return key === undefined ? undefined : encode(wireOfKey(key));
}

function addressOctets(text: string): Buffer {
  const ip = parseIp(text);
  const octets = ip?.family === "IPv6" ? 16 : 4;
  return Buffer.from((ip?.value ?? 0n).toString(16).padStart(octets * 2, "0"), "hex");
}
