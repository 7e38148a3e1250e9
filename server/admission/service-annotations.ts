import { isDeepStrictEqual } from "node:util";
import type { Cause } from "#proto/error.ts";
import { formatCidr, lenientCidr } from "#proto/ip.ts";
import { fault } from "#proto/parse.ts";
import {
  DNS_ORDER_ANNOTATION,
  DNS_ORDERS,
  IPVS_SCHEDULERS,
  SCHEDULER_ANNOTATION,
  SOURCE_RANGES_ANNOTATION,
  type Service,
} from "#proto/service.ts";

/** What annotations say that hosts act on. Pure. */

export function checkChoices({ metadata }: Service, faults: Cause[]): void {
  for (const [annotation, choices] of CHOICES) {
    const given = metadata.annotations?.[annotation];
    if (given === undefined || choices.includes(given)) continue;
    const message = `must be one of ${choices.join(", ")}`;
    faults.push(fault(`metadata.annotations[${annotation}]`, message, { reason: "FieldValueNotSupported", value: given }));
  }
}

const CHOICES: readonly (readonly [annotation: string, choices: readonly string[]])[] = [
  [SCHEDULER_ANNOTATION, IPVS_SCHEDULERS],
  [DNS_ORDER_ANNOTATION, DNS_ORDERS],
];

/**
 * spec.loadBalancerSourceRanges, and who has no such field yet writes Kubernetes' annotation from before it: the field is filled from it, and follows it
 * as long as nobody else writes there. An annotation that goes leaves the field as it is, so that nothing is opened by moving from one to the other.
 */
export function withSourceRanges(previous: Service | undefined, next: Service, faults: Cause[]): Service {
  const field = `metadata.annotations[${SOURCE_RANGES_ANNOTATION}]`;
  const { loadBalancerSourceRanges: given = [], ...spec } = next.spec;
  const text = next.metadata.annotations?.[SOURCE_RANGES_ANNOTATION];
  const former = previous && rangesIn(previous.metadata.annotations?.[SOURCE_RANGES_ANNOTATION]);
  const isFilled = former !== undefined && isDeepStrictEqual(given, former);
  if (next.spec.type !== "LoadBalancer") {
    const message = "may only be used when `type` is 'LoadBalancer'";
    const reason = "FieldValueForbidden";
    if (text !== undefined) faults.push(fault(field, message, { reason, value: text }));
    else if (given.length > 0 && !isFilled) faults.push(fault("spec.loadBalancerSourceRanges", message, { reason, value: given }));
    return { ...next, spec };
  }
  if (text === undefined || (given.length > 0 && !isFilled)) return next;
  const ranges = rangesIn(text);
  if (!ranges) faults.push(fault(field, "must be a list of IP ranges. For example, 10.240.0.0/24,10.250.0.0/24", { value: text }));
  return { ...next, spec: { ...spec, ...(ranges && ranges.length > 0 && { loadBalancerSourceRanges: ranges }) } };
}

/** undefined when something there is no range; none stand for no limit. */
function rangesIn(text: string | undefined): string[] | undefined {
  if (text === undefined) return undefined;
  const parts = text.trim() === "" ? [] : text.split(",");
  const ranges = parts.map(lenientCidr).filter((cidr) => cidr !== undefined);
  return ranges.length === parts.length ? ranges.map(formatCidr) : undefined;
}
