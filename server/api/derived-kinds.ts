import type { KindFacts, KindName } from "#proto/kinds.ts";
import { EVENTS_KIND, EVENTS_VERBS } from "./events/event-v1.ts";
import { POD_KIND, POD_VERBS } from "./pods/pod.ts";
import { SERVICE_CIDR_KIND, SERVICE_CIDR_VERBS } from "./service-cidrs/service-cidr.ts";

/** Kinds that clients find here, and that are not stored as such: they follow from others. */

/** What the API says of a kind. */
export type ApiKind = Omit<KindFacts, "schema" | "merging">;

export interface DerivedKind extends ApiKind {
  readonly verbs: readonly string[];
  /** Whoever may do something with this one may do it with that; absent: every host may read it. */
  readonly of?: KindName;
}

export const derivedKinds: readonly DerivedKind[] = [
  { ...POD_KIND, verbs: POD_VERBS, of: "Workload" },
  { ...EVENTS_KIND, verbs: EVENTS_VERBS, of: "Event" },
  { ...SERVICE_CIDR_KIND, verbs: SERVICE_CIDR_VERBS },
];
