import { isIPv6 } from "node:net";
import { formatIp, parseIp } from "#proto/ip.ts";
import type { Upstream } from "./upstream-udp.ts";

export const DNS_PORT = 53;

/** An address, perhaps with a zone (`fe80::1%eth0`). */
export function isServer(text: string): boolean {
  const [, address = "", zone] = /^([^%]*)(?:%([\w.-]{1,15}))?$/.exec(text) ?? [];
  return parseIp(address) !== undefined && (zone === undefined || isIPv6(address));
}

/** `10.0.0.1`, `10.0.0.1:5353`, `fd00::1`, `[fe80::1%eth0]:5353`. undefined = none of these. */
export function parseServer(text: string): Upstream | undefined {
  if (isServer(text)) return { address: text, port: DNS_PORT };
  const [, bracketed, plain, portText = String(DNS_PORT)] = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const address = bracketed ?? plain ?? "";
  const port = Number(portText);
  const isWritten = bracketed === undefined ? !address.includes(":") : isIPv6(address);
  return isServer(address) && isWritten && port >= 1 && port <= 65_535 ? { address, port } : undefined;
}

/** As people write it. */
export function serverText({ address, port }: Upstream): string {
  if (port === DNS_PORT) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** For comparisons: an address of IPv6 can be written in many ways. */
export function canonicalAddress(text: string): string {
  const [address = "", zone] = text.split("%");
  const ip = parseIp(address);
  if (!ip) return text;
  return zone === undefined ? formatIp(ip) : `${formatIp(ip)}%${zone}`;
}

export function serverKey({ address, port }: Upstream): string {
  return `${canonicalAddress(address)} ${port}`;
}
