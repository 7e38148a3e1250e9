import { isAppError } from "#proto/error.ts";

/**
 * The prefixes without those that the server refused; undefined when that was not what it refused. Docker gives every host the same 172.17.0.0/16:
 * containers in a prefix that is behind another host too cannot be reached from elsewhere, and are no reason to keep the host out.
 */
export function withoutRefused(cidrs: readonly string[], error: unknown): string[] | undefined {
  if (!isAppError(error, "Invalid") || error.causes.length === 0) return undefined;
  const refused = error.causes.map(({ field }) => /^spec\.podCIDRs\[(\d+)\]$/.exec(field)?.[1]);
  if (refused.includes(undefined)) return undefined;
  const kept = cidrs.filter((_, i) => !refused.includes(String(i)));
  return kept.length < cidrs.length ? kept : undefined;
}
