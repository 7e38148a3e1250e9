import { age } from "#proto/age.ts";
import type { Column } from "#proto/columns.ts";
import type { ObjectMeta } from "#proto/meta.ts";
import type { Namespace } from "#proto/namespace.ts";
import type { DerivedKind, Form } from "../view.ts";

/** The ranges of virtual IPs as the ServiceCIDR (networking.k8s.io/v1) that kube-proxy watches; the server's settings say them. Pure. */

export const SERVICE_CIDR_KIND: DerivedKind = {
  kind: "ServiceCIDR",
  group: "networking.k8s.io",
  version: "v1",
  plural: "servicecidrs",
  singular: "servicecidr",
  shortNames: [],
  categories: [],
  namespaced: false,
  hasStatus: false,
  hasGeneration: false,
  verbs: ["get", "list", "watch"],
};

export interface ServiceCidr {
  readonly apiVersion: "networking.k8s.io/v1";
  readonly kind: "ServiceCIDR";
  readonly metadata: ObjectMeta;
  readonly spec: { readonly cidrs: readonly string[] };
  readonly status: { readonly conditions: readonly object[] };
}

/** As Kubernetes calls the one that is made of its flags. */
export const SERVICE_CIDR_NAME = "kubernetes";

/** It is as old as the fleet, whose first Namespace stands for it, and was last changed when this server started with its settings. */
export function serviceCidrOf(cidrs: readonly string[], fleet: Pick<Namespace, "metadata">, revision: number): ServiceCidr {
  const { creationTimestamp, uid = "" } = fleet.metadata;
  const since = creationTimestamp === undefined ? {} : { creationTimestamp };
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "ServiceCIDR",
    // Its uid is the Namespace's with another first digit: one of its own that stays.
    metadata: {
      name: SERVICE_CIDR_NAME,
      uid: `${uid.startsWith("c") ? "d" : "c"}${uid.slice(1)}`,
      resourceVersion: String(revision),
      ...since,
    },
    spec: { cidrs },
    status: {
      conditions: [
        {
          type: "Ready",
          status: "True",
          reason: "",
          message: "Kubernetes Service CIDR is ready",
          ...(creationTimestamp !== undefined && { lastTransitionTime: creationTimestamp }),
        },
      ],
    },
  };
}

const columns: readonly Column<ServiceCidr>[] = [
  { name: "Name", cell: ({ metadata }) => metadata.name },
  { name: "CIDRs", cell: ({ spec }) => spec.cidrs.join(",") },
  { name: "Age", cell: ({ metadata }, now) => age(metadata.creationTimestamp, now) },
];

export const serviceCidrForm: Form<ServiceCidr> = { apiVersion: "networking.k8s.io/v1", kind: "ServiceCIDR", columns };
