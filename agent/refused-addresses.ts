import type { ServiceNotes } from "./compile/service-notes.ts";

const MAX_LINES = 4;

/** Addresses that Services ask for and this host does not serve, as problems of the host: a few of them, for people. Pure. */
export function refusedProblems({ refused }: Pick<ServiceNotes, "refused">): readonly string[] {
  const lines: string[] = [];
  for (const [key, all] of refused) {
    if (lines.length === MAX_LINES) break;
    const [first] = all;
    if (!first) continue;
    const more = all.length > 1 ? ` (and ${all.length - 1} more of its addresses)` : "";
    lines.push(`service ${key}: ${first.address} is not served here: ${first.why}${more}`);
  }
  const left = refused.size - lines.length;
  return left > 0 ? [...lines, `${left} more services have addresses that are not served here`] : lines;
}
