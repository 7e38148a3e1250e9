import type { FamilyRecord } from "#agent/dataplane/family-record.ts";

/** What /readyz looks at. Pure. */
export interface Check {
  readonly name: string;
  /** undefined = all is well. */
  readonly fault: string | undefined;
  /** For people who ask for it. */
  readonly detail: string;
}

/** A change that waits longer than this is not late but stuck: a full write of 10,000 services takes a second or two. */
export const STUCK_AFTER_MS = 30_000;

export interface Looked {
  readonly families: readonly (FamilyRecord & { readonly waitingMs: number })[];
}

/**
 * One check a family. A family that no driver can program here (no IPv6 in the kernel) is told as a problem and fails nothing while another one runs:
 * a host of one family in a fleet of two does its work.
 */
export function checksOf({ families }: Looked): readonly Check[] {
  const isAnyUsable = families.some(({ unusable }) => unusable === undefined);
  return families.map((family) => ({
    name: `${family.family} data plane`,
    fault: family.unusable === undefined ? faultOf(family) : isAnyUsable ? undefined : family.unusable,
    detail: family.unusable ?? family.driver ?? "not chosen yet",
  }));
}

/** Of the changes alone: whether what is wanted comes into the kernel in time. */
export function isStuck({ families }: Looked): boolean {
  return families.some(({ unusable, waitingMs }) => unusable === undefined && waitingMs > STUCK_AFTER_MS);
}

function faultOf({ failure, isProgrammed, waitingMs }: Looked["families"][number]): string | undefined {
  if (failure !== undefined) return failure;
  if (!isProgrammed) return "the kernel has not been programmed yet";
  if (waitingMs > STUCK_AFTER_MS) return `a change waits for ${Math.round(waitingMs / 1000)} s`;
  return undefined;
}

/** As Kubernetes' programs answer: `ok`, or a line a check. */
export function renderChecks(checks: readonly Check[], name: string): { readonly isOk: boolean; readonly verbose: string } {
  const isOk = checks.every(({ fault }) => fault === undefined);
  const lines = checks.map(({ name: check, fault, detail }) => {
    const plain = (fault ?? detail).replaceAll(/\s+/g, " ").slice(0, 1000);
    return fault === undefined ? `[+]${check} ok: ${plain}` : `[-]${check} failed: ${plain}`;
  });
  return { isOk, verbose: [...lines, `${name} check ${isOk ? "passed" : "failed"}`, ""].join("\n") };
}
