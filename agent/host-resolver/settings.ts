import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";
import { reverseZonesOf } from "#agent/dns/reverse-zones.ts";
import type { ClusterFacts } from "#proto/agents.ts";
import type { LinkSettings } from "./link.ts";

/** systemd-resolved takes 256 domains of a link; a range that is cut through the middle of an octet may have more zones than anybody wants to list. */
const MAX_REVERSE_ZONES = 64;

type SettledFacts = Pick<ClusterFacts, "dnsIps" | "domain" | "moreDomains" | "serviceCidrs">;

/** What a host is told to ask us, by the facts of its fleet. Pure. */
export function settingsOf({ dnsIps, domain, moreDomains = [], serviceCidrs }: SettledFacts): LinkSettings {
  const zones = serviceCidrs.flatMap(reverseZonesOf);
  // The virtual IP, because it is reached from containers that copy the host's file, too.
  return {
    server: dnsIps[0] ?? HOST_LOCAL_ADDRESS,
    domain,
    moreZones: [...moreDomains, ...(zones.length > MAX_REVERSE_ZONES ? [] : zones)],
  };
}
