import type { IpFamily } from "#proto/ip.ts";

/** How it goes with one family of addresses: for /readyz, /metrics and whoever else asks. */
export interface FamilyRecord {
  readonly family: IpFamily;
  /** `nftables: why`; undefined while none has been chosen. */
  driver: string | undefined;
  /** Why no driver can work here; undefined = one can, or it is not known yet. */
  unusable: string | undefined;
  /** The kernel has once held what this agent wanted. */
  isProgrammed: boolean;
  /** Why the last write failed; undefined = it did not. */
  failure: string | undefined;
  /** When its loop last came around (performance.now()); undefined = it does not run. */
  turnedAt: number | undefined;
}

export function createFamilyRecord(family: IpFamily): FamilyRecord {
  return { family, driver: undefined, unusable: undefined, isProgrammed: false, failure: undefined, turnedAt: undefined };
}
