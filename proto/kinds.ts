import type { z } from "zod";
import { checkSlice, EndpointSlice } from "./endpoint-slice.ts";
import { Event } from "./event.ts";
import { Namespace } from "./namespace.ts";
import { Node } from "./node.ts";
import { checkService } from "./service-rules.ts";
import { Service } from "./service.ts";
import { checkWorkload, Workload } from "./workload.ts";

/** The one table of kinds: paths, discovery, routes, the CLI's names and the validation come from here. */

export interface KindFacts<Schema extends z.ZodType = z.ZodType> {
  readonly kind: string;
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /** Whether `/status` exists; then writes of the object itself leave status alone, and the reverse. */
  readonly hasStatus: boolean;
  /** Whether metadata.generation counts changes of the spec; Kubernetes does so for some kinds only. */
  readonly hasGeneration: boolean;
  /** Fields that one may select by, beside name and namespace, as Kubernetes lets one; absent ones count as empty. */
  readonly selectableFields: readonly string[];
  /** How its lists and maps are merged. */
  readonly merging: Merging;
  readonly schema: Schema;
  /** What its fields ask of each other. Also looks at objects with faults: texts and numbers there may be none that the schema takes. */
  rules?(object: z.output<Schema>, fault: RuleFault): void;
}

/** Tells of a field that does not go with others. */
export type RuleFault = (path: readonly PropertyKey[], message: string, kind?: "Invalid" | "Required" | "Duplicate") => void;

/**
 * Path of a list or object (`spec.ports`; items of a list add nothing) → how two versions of it become one, as the markers in Kubernetes' API types say.
 * Lists that are not here are replaced whole, and objects field by field. Serves strategic merge patch, server-side apply and OpenAPI.
 */
export type Merging = Readonly<Record<string, MergeRule>>;
export type MergeRule =
  /** `keys` tell its items apart for server-side apply (none: to that the list is one value), `patchKey` for a strategic merge patch. */
  | {
      readonly type: "map";
      readonly keys: readonly string[];
      readonly patchKey: string;
      readonly keyDefaults?: Readonly<Record<string, string>>;
    }
  /** A list of different values. */
  | { readonly type: "set" }
  /** An object that is one value to server-side apply. */
  | { readonly type: "atomic" };

const META: Merging = {
  "metadata.ownerReferences": { type: "map", keys: ["uid"], patchKey: "uid" },
  "metadata.finalizers": { type: "set" },
};
const CONDITIONS: MergeRule = { type: "map", keys: ["type"], patchKey: "type" };
/** Kubernetes' own mistake is kept: a patch finds a port by its number alone, though DNS has one of TCP and one of UDP. */
const PORTS: MergeRule = { type: "map", keys: ["port", "protocol"], patchKey: "port", keyDefaults: { protocol: "TCP" } };
const ATOMIC: MergeRule = { type: "atomic" };

export const kinds = {
  Namespace: define({
    kind: "Namespace",
    group: "",
    version: "v1",
    plural: "namespaces",
    singular: "namespace",
    shortNames: ["ns"],
    categories: [],
    namespaced: false,
    hasStatus: true,
    hasGeneration: false,
    selectableFields: ["status.phase"],
    merging: { ...META, "status.conditions": CONDITIONS },
    schema: Namespace,
  }),
  Service: define({
    kind: "Service",
    group: "",
    version: "v1",
    plural: "services",
    singular: "service",
    shortNames: ["svc"],
    categories: ["all"],
    namespaced: true,
    hasStatus: true,
    hasGeneration: false,
    selectableFields: ["spec.clusterIP", "spec.type"],
    merging: { ...META, "spec.ports": PORTS, "spec.selector": ATOMIC, "status.conditions": CONDITIONS },
    schema: Service,
    rules: ({ spec }, fault) => checkService(spec, fault),
  }),
  EndpointSlice: define({
    kind: "EndpointSlice",
    group: "discovery.k8s.io",
    version: "v1",
    plural: "endpointslices",
    singular: "endpointslice",
    shortNames: [],
    categories: [],
    namespaced: true,
    hasStatus: false,
    hasGeneration: true,
    selectableFields: [],
    merging: META,
    schema: EndpointSlice,
    rules: checkSlice,
  }),
  Workload: define({
    kind: "Workload",
    group: "fairlead.dev",
    version: "v1",
    plural: "workloads",
    singular: "workload",
    shortNames: ["wl"],
    categories: ["all"],
    namespaced: true,
    hasStatus: true,
    hasGeneration: true,
    selectableFields: ["spec.node"],
    merging: { ...META, "spec.ports": PORTS },
    schema: Workload,
    rules: ({ spec }, fault) => checkWorkload(spec, fault),
  }),
  Node: define({
    kind: "Node",
    group: "",
    version: "v1",
    plural: "nodes",
    singular: "node",
    shortNames: ["no"],
    categories: [],
    namespaced: false,
    hasStatus: true,
    hasGeneration: false,
    selectableFields: ["spec.unschedulable"],
    merging: {
      ...META,
      "spec.podCIDRs": { type: "set" },
      // A host with two families has two addresses of one type, so the type tells nothing apart.
      "status.addresses": { type: "map", keys: [], patchKey: "type" },
      "status.conditions": CONDITIONS,
    },
    schema: Node,
  }),
  Event: define({
    kind: "Event",
    group: "",
    version: "v1",
    plural: "events",
    singular: "event",
    shortNames: ["ev"],
    categories: [],
    namespaced: true,
    hasStatus: false,
    hasGeneration: false,
    selectableFields: [
      ...["kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"].map((field) => `involvedObject.${field}`),
      "reason",
      "reportingComponent",
      "type",
    ],
    merging: { ...META, involvedObject: ATOMIC, related: ATOMIC },
    schema: Event,
  }),
} as const;

export type KindName = keyof typeof kinds;
export type ObjectOf<Kind extends KindName> = z.output<(typeof kinds)[Kind]["schema"]>;
export type InputOf<Kind extends KindName> = z.input<(typeof kinds)[Kind]["schema"]>;
export type AnyObject = { [Kind in KindName]: ObjectOf<Kind> }[KindName];

export const kindNames = Object.keys(kinds) as readonly KindName[]; // the keys of the literal above

/** Without metadata.managedFields: who wrote which field. */
export function withoutManagedFields(object: AnyObject): AnyObject {
  const { managedFields: _owners, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/** `v1`, or `group/version`. */
export function apiVersionOf({ group, version }: Pick<KindFacts, "group" | "version">): string {
  return group === "" ? version : `${group}/${version}`;
}

/** `/api/v1/namespaces/NS/services/NAME`; without namespace: all of them; without name: the collection. */
export function pathOf(
  kind: KindName,
  at: { readonly namespace?: string | undefined; readonly name?: string | undefined; readonly subresource?: string | undefined } = {},
): string {
  const { group, version, plural, namespaced } = kinds[kind];
  const parts = [group === "" ? `/api/${version}` : `/apis/${group}/${version}`];
  if (namespaced && at.namespace !== undefined) parts.push("namespaces", encodeURIComponent(at.namespace));
  parts.push(plural);
  if (at.name !== undefined) parts.push(encodeURIComponent(at.name));
  if (at.subresource !== undefined) parts.push(at.subresource);
  return parts.join("/");
}

/** The kind a user means by `svc`, `services`, `service`, `Service` or `services.v1`. */
export function kindByName(text: string): KindName | undefined {
  const wanted = (text.split(".")[0] ?? "").toLowerCase();
  return kindNames.find((name) => {
    const { kind, plural, singular, shortNames } = kinds[name] as KindFacts;
    return kind.toLowerCase() === wanted || plural === wanted || singular === wanted || shortNames.includes(wanted);
  });
}

/** The kind of a manifest, by apiVersion and kind. */
export function kindByGvk(apiVersion: string, kind: string): KindName | undefined {
  return kindNames.find((name) => kinds[name].kind === kind && apiVersionOf(kinds[name]) === apiVersion);
}

function define<Schema extends z.ZodType>(facts: KindFacts<Schema>): KindFacts<Schema> {
  return facts;
}
