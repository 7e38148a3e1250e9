import type { DnsChange } from "#agent/compile/dns-records.ts";

/** The names that every server of the bench answers: s0 … in one namespace, each with a virtual IP, a port and a reverse name. */

export const DNS_FACTS = { domain: "cluster.local", serviceCidrs: ["10.96.0.0/14"], dnsIps: ["10.96.0.10"] };

export function dnsNameOf(index: number | string): string {
  return `s${index}.default.svc.cluster.local`;
}

/** `round`: how often its address has changed. */
export function dnsAddressOf(index: number, round = 0): string {
  const at = 256 + index;
  return `10.${96 + (round % 3)}.${at >> 8}.${at & 255}`;
}

export function dnsChangeOf(index: number, round?: number): DnsChange {
  const [name, address] = [dnsNameOf(index), dnsAddressOf(index, round)];
  return {
    source: `service default/s${index}`,
    records: [
      { name, type: "A", address },
      { name, type: "SRV", weight: 100, port: 80, target: name },
      { name: `_http._tcp.${name}`, type: "SRV", weight: 100, port: 80, target: name },
      { name: `${address.split(".").toReversed().join(".")}.in-addr.arpa`, type: "PTR", of: "virtual-ip", target: name },
    ],
    names: [],
  };
}
