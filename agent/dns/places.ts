import type { ListenAddress } from "./listen.ts";
import { DNS_PORT, serverKey } from "./server-address.ts";

/**
 * Where the host itself finds us: an address that every Linux host has without being given it. .53 and .54 are systemd-resolved's, 127.0.0.1 dnsmasq's and
 * unbound's, 127.0.1.1 the host name's on Debian, 127.0.0.11 Docker's, 127.0.2.1 dnscrypt-proxy's.
 */
export const HOST_LOCAL_ADDRESS = "127.0.0.153";

/** Where we answer: the host may have been told to ask its own place, so that one is there whatever else is asked for. */
export function placesToListen(dnsIps: readonly string[], more: readonly ListenAddress[]): ListenAddress[] {
  const fixed = [...dnsIps, HOST_LOCAL_ADDRESS].map((address) => ({ address, port: DNS_PORT }));
  return [...new Map([...fixed, ...more].map((place) => [serverKey(place), place])).values()];
}
