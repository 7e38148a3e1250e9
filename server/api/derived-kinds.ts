import { ENDPOINTS_KIND } from "./endpoints/endpoints.ts";
import { EVENTS_KIND } from "./events/event-v1.ts";
import { POD_KIND } from "./pods/pod.ts";
import { SERVICE_CIDR_KIND } from "./service-cidrs/service-cidr.ts";
import type { DerivedKind } from "./view.ts";

export const derivedKinds: readonly DerivedKind[] = [POD_KIND, ENDPOINTS_KIND, EVENTS_KIND, SERVICE_CIDR_KIND];
