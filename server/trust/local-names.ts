import { hostname, networkInterfaces } from "node:os";
import { DnsSubdomain } from "#proto/meta.ts";
import { formatIp, parseIp } from "#proto/ip.ts";

/** Every name and address by which this host may be reached, without repetition: what its certificate has to say. */
export function localNames(advertise: readonly string[]): string[] {
  const names = new Set(["localhost", "127.0.0.1", "::1"]);
  const add = (text: string): void => {
    const ip = parseIp(text);
    if (ip) names.add(formatIp(ip));
    // A host name may have capitals or an underscore, which no certificate can say.
    else if (DnsSubdomain.safeParse(text.toLowerCase()).success) names.add(text.toLowerCase());
  };
  for (const text of advertise) add(text);
  add(hostname());
  for (const { address } of localAddresses()) add(address);
  return [...names];
}

/** The address by which other hosts most likely reach this one: IPv4 first; undefined when there is none but loopback. */
export function reachableAddress(): string | undefined {
  const all = localAddresses();
  return (all.find(({ family }) => family === "IPv4") ?? all[0])?.address;
}

/** Neither loopback nor link-local: the latter change, and carry a zone that no certificate can say. */
function localAddresses(): { address: string; family: string }[] {
  return Object.values(networkInterfaces())
    .flatMap((all) => all ?? [])
    .filter(({ internal, address }) => !internal && !/^fe[89ab]/i.test(address) && !address.startsWith("169.254."));
}
