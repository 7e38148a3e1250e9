import { formatCidr, formatIp, nthAddress, overlaps, parseCidr, prefixOf, type Cidr } from "#proto/ip.ts";
import type { NodeNetworks } from "./node-networks.ts";
import type { Ranges } from "./ranges.ts";

/** Docker makes the same networks on every host (172.17.0.0/16 first), so this is what people meet first: say what to write, with addresses that nobody has. Pure. */

/** Blocks of 16 networks of /24 each; and what Docker takes for itself. */
const FIRST = parseCidr("10.200.0.0/20");
const BLOCKS = 896; // up to 10.255.240.0/20
const DOCKERS_OWN = ["172.16.0.0/12", "192.168.0.0/16"].flatMap((text) => parseCidr(text) ?? []);

export interface PoolParts {
  readonly ranges: Ranges;
  readonly networks: Pick<NodeNetworks, "overlapping">;
}

/** To go on with behind `overlaps … of the host …`; "" where it is no address of Docker's own choice. */
export function dockerAdvice(host: string, refused: Cidr, parts: PoolParts): string {
  const pool = DOCKERS_OWN.some((own) => overlaps(own, refused)) ? freePool(host, parts) : undefined;
  if (!pool) return "";
  const settings = {
    bip: `${formatIp(nthAddress(pool, 1n))}/24`,
    "default-address-pools": [{ base: formatCidr(pool), size: 24 }],
  };
  return `; if it is Docker's: give each host's Docker addresses of its own, on ${host} for example ${JSON.stringify(settings)} in /etc/docker/daemon.json, then restart Docker and make its other networks anew`;
}

/** Where to begin follows from the name, so that two hosts that ask at once are not told the same. */
function freePool(host: string, { ranges, networks }: PoolParts): Cidr | undefined {
  if (!FIRST) return undefined;
  const start = numberOf(host);
  for (let i = 0; i < BLOCKS; i++) {
    const pool = prefixOf(nthAddress(FIRST, BigInt(((start + i) % BLOCKS) * 4096)), FIRST.prefix);
    const virtual = ranges.of("IPv4");
    if (!(virtual && overlaps(virtual.cidr, pool)) && !networks.overlapping(pool, host)) return pool;
  }
  return undefined;
}

function numberOf(text: string): number {
  let sum = 0;
  for (const char of text) sum = (Math.imul(sum, 31) + (char.codePointAt(0) ?? 0)) >>> 0;
  return sum;
}
