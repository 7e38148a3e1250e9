import { formatCidr, parseCidr } from "#proto/ip.ts";
import type { Network } from "./container.ts";

/** Which networks of Docker's may be announced to other hosts. Pure. */

/** Each is a rule that packets through the host pass. */
export const MAX_ANNOUNCED = 16;

/** Subnets of bridge networks, canonical and sorted. Internal ones are closed on purpose; docker_gwbridge is Swarm's own. */
export function bridgeSubnets(networks: Iterable<Network>): readonly string[] {
  const found = [...networks].filter(isOpenBridge).flatMap(({ IPAM }) =>
    IPAM.Config.flatMap(({ Subnet }) => {
      const cidr = parseCidr(Subnet);
      return cidr ? [formatCidr(cidr)] : [];
    }),
  );
  return [...new Set(found)].toSorted();
}

function isOpenBridge({ Name, Driver, Internal, Options }: Network): boolean {
  return Driver === "bridge" && !Internal && Name !== "docker_gwbridge" && Options[GATEWAY_MODE] !== "isolated";
}

const GATEWAY_MODE = "com.docker.network.bridge.gateway_mode_ipv4";
