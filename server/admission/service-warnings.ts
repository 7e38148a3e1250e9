import { parseIp } from "#proto/ip.ts";
import { isHeadless, type Service } from "#proto/service.ts";
import type { Ranges } from "./ranges.ts";

/** What a service says that does not go as might be thought; fields on which nobody ever acts are marked in its schema (keptOnly). Pure; in Kubernetes' words where it warns of the same. */
export function warningsFor(service: Service, balancerRanges: Ranges): string[] {
  const { spec } = service;
  const warnings: string[] = [];
  const warn = (field: string, text: string): void => void warnings.push(`spec.${field} ${text}`);
  if (spec.loadBalancerIP !== undefined && spec.loadBalancerIP !== "" && spec.type !== "LoadBalancer")
    warn("loadBalancerIP", "is ignored when spec.type is not LoadBalancer");
  if ((spec.externalIPs ?? []).length > 0) {
    if (spec.type === "ExternalName") warn("externalIPs", 'is ignored when spec.type is "ExternalName"');
    else if (isHeadless(service)) warn("externalIPs", 'is ignored when spec.clusterIP is "None"');
  }
  for (const [i, text] of (spec.externalIPs ?? []).entries()) {
    const family = parseIp(text)?.family;
    if (family !== undefined && spec.ipFamilies && !isHeadless(service) && !spec.ipFamilies.includes(family))
      warn(`externalIPs[${i}]`, `is not served: the service has no ${family} address of its own (spec.ipFamilies)`);
  }
  if (spec.type === "LoadBalancer") warnings.push(...pendingWarnings(service, balancerRanges));
  return warnings;
}

function pendingWarnings({ spec, status }: Service, ranges: Ranges): string[] {
  const entries = status.loadBalancer.ingress ?? [];
  if (entries.length > 0 && (spec.ipFamilies ?? []).length < 2) return [];
  if (entries.length === 0 && ranges.families.length === 0)
    return [
      "spec.type LoadBalancer: no address is given out, as the server has no --load-balancer-cidr; name one in spec.loadBalancerIP, or set status.loadBalancer",
    ];
  const given = new Set(entries.map(({ ip = "" }) => parseIp(ip)?.family));
  return (spec.ipFamilies ?? []).flatMap((family) => {
    const range = given.has(family) ? undefined : ranges.of(family);
    return range ? [`spec.type LoadBalancer: no address is left in ${range.text}; the service gets the next that becomes free`] : [];
  });
}
