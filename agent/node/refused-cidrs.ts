import { isAppError } from "#proto/error.ts";
import { ROUTED_CIDRS_ANNOTATION } from "#proto/node.ts";

/** What a host says is behind it. */
export interface CidrLists {
  readonly podCIDRs: readonly string[];
  /** Of ROUTED_CIDRS_ANNOTATION. */
  readonly routed: readonly string[];
}

/** Prefix → why the server refused it; undefined when that was not what it refused. */
export function refusedCidrs({ podCIDRs, routed }: CidrLists, error: unknown): ReadonlyMap<string, string> | undefined {
  if (!isAppError(error, "Invalid") || error.causes.length === 0) return undefined;
  const refused = new Map<string, string>();
  for (const { field, message } of error.causes) {
    const cidr = podCIDRs[indexIn(field, "spec.podCIDRs")] ?? routed[indexIn(field, `metadata.annotations[${ROUTED_CIDRS_ANNOTATION}]`)];
    if (cidr === undefined) return undefined;
    const why = message.replace(/^[A-Z][a-z ]+(?:: "[^"]*")?: /, "");
    refused.set(cidr, refused.get(cidr) ?? why);
  }
  return refused;
}

/**
 * The prefixes without those that the server refused; undefined when that was not what it refused. Docker gives every host the same 172.17.0.0/16:
 * containers in a prefix that is behind another host too cannot be reached from elsewhere, and are no reason to keep the host out.
 */
export function withoutRefused(cidrs: readonly string[], error: unknown): string[] | undefined {
  const refused = refusedCidrs({ podCIDRs: cidrs, routed: [] }, error);
  return refused && cidrs.filter((cidr) => !refused.has(cidr));
}

function indexIn(field: string, list: string): number {
  const [, index = "-1"] = field.startsWith(list) ? (/^\[(\d+)\]$/.exec(field.slice(list.length)) ?? []) : [];
  return Number(index);
}
