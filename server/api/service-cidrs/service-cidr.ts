import { z } from "zod";
import { age } from "#proto/age.ts";
import type { Column } from "#proto/columns.ts";
import { API_VERSION_TEXT, Condition, KIND_TEXT, ObjectMeta } from "#proto/meta.ts";
import type { Namespace } from "#proto/namespace.ts";
import type { DerivedKind, Form } from "../view.ts";

/** The ranges of virtual IPs as the ServiceCIDR (networking.k8s.io/v1) that kube-proxy watches; the server's settings say them. Pure. */

export const ServiceCidr = z
  .looseObject({
    apiVersion: z.literal("networking.k8s.io/v1").describe(API_VERSION_TEXT),
    kind: z.literal("ServiceCIDR").describe(KIND_TEXT),
    metadata: ObjectMeta.describe("Its name is kubernetes; it is as old as the fleet."),
    spec: z
      .looseObject({ cidrs: z.array(z.string()).describe("The ranges, at most one of each family: the server's --service-cidr.") })
      .describe("What the server was started with."),
    status: z.looseObject({ conditions: z.array(Condition).describe("Ready, which is always True.") }).describe("How it is."),
  })
  .describe("The ranges that Services get their virtual IPs from. There is one, to be read only.");
export type ServiceCidr = z.output<typeof ServiceCidr>;

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
  selectableFields: [],
  merging: {},
  schema: ServiceCidr,
  verbs: ["get", "list", "watch"],
};

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
    spec: { cidrs: [...cidrs] },
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
