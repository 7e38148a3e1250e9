import type { Column } from "#proto/columns.ts";
import { age } from "#proto/age.ts";
import type { ObjectMeta } from "#proto/meta.ts";
import { needsVerdict, type Workload } from "#proto/workload.ts";
import type { DerivedKind } from "../view.ts";
import { PodDescription } from "./pod-description.ts";

/** A Workload as the Pod (core/v1) that tools look for. Only what a Workload knows is there: nothing runs here. Pure. */

export const POD_KIND: DerivedKind = {
  kind: "Pod",
  group: "",
  version: "v1",
  plural: "pods",
  singular: "pod",
  shortNames: ["po"],
  categories: ["all"],
  namespaced: true,
  hasStatus: false,
  hasGeneration: false,
  selectableFields: ["spec.nodeName", "status.phase"],
  merging: {},
  schema: PodDescription,
  verbs: ["get", "list", "watch"],
  of: "Workload",
};

export interface Pod {
  readonly apiVersion: "v1";
  readonly kind: "Pod";
  readonly metadata: ObjectMeta;
  readonly spec: {
    readonly nodeName: string;
    readonly containers: readonly object[];
    readonly terminationGracePeriodSeconds: number;
  };
  readonly status: {
    readonly phase: "Running";
    readonly conditions: readonly object[];
    readonly hostIP?: string | undefined;
    readonly podIP?: string | undefined;
    readonly podIPs: readonly { readonly ip: string }[];
    readonly startTime?: string | undefined;
    readonly containerStatuses: readonly ContainerStatus[];
  };
}

interface ContainerStatus {
  readonly name: string;
  readonly ready: boolean;
  readonly restartCount: number;
  readonly image: string;
  readonly imageID: string;
  readonly state: { readonly running: { readonly startedAt?: string | undefined } };
}

/** A Workload has no image; clients print this text. */
const NO_IMAGE = "not-a-container";

/** `hostIp`: the first address of its Node, where it is known. */
export function podOf({ metadata, spec, status }: Workload, hostIp: string | undefined): Pod {
  const { name, creationTimestamp } = metadata;
  const ready = (status.ready ?? !needsVerdict({ metadata, spec })) && metadata.deletionTimestamp === undefined;
  const address = spec.address ?? hostIp;
  const condition = (type: string): object => ({
    type,
    status: ready ? "True" : "False",
    ...(status.since !== undefined && { lastTransitionTime: status.since }),
    ...(!ready && status.reason !== undefined && { reason: status.reason, message: status.message ?? "" }),
  });
  const ports = spec.ports.map(({ name: portName, port, protocol }) => ({
    ...(portName !== undefined && { name: portName }),
    containerPort: port,
    protocol,
  }));
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata,
    spec: {
      nodeName: spec.node,
      containers: [{ name, image: NO_IMAGE, ports, resources: {} }],
      terminationGracePeriodSeconds: spec.terminationGracePeriodSeconds,
    },
    status: {
      phase: "Running",
      conditions: [{ type: "PodScheduled", status: "True" }, condition("ContainersReady"), condition("Ready")],
      ...(hostIp !== undefined && { hostIP: hostIp }),
      ...(address !== undefined && { podIP: address }),
      podIPs: address === undefined ? [] : [{ ip: address }],
      ...(creationTimestamp !== undefined && { startTime: creationTimestamp }),
      containerStatuses: [statusOf(name, ready, creationTimestamp)],
    },
  };
}

function statusOf(name: string, ready: boolean, startedAt: string | undefined): ContainerStatus {
  return {
    name,
    ready,
    restartCount: 0,
    image: NO_IMAGE,
    imageID: "",
    state: { running: { ...(startedAt !== undefined && { startedAt }) } },
  };
}

export const podColumns: readonly Column<Pod>[] = [
  { name: "Name", cell: ({ metadata }) => metadata.name },
  {
    name: "Ready",
    cell: ({ status }) => `${status.containerStatuses.filter(({ ready }) => ready).length}/${status.containerStatuses.length}`,
  },
  { name: "Status", cell: ({ metadata, status }) => (metadata.deletionTimestamp === undefined ? status.phase : "Terminating") },
  { name: "Restarts", cell: () => "0" },
  { name: "Age", cell: ({ metadata }, now) => age(metadata.creationTimestamp, now) },
  { name: "IP", wide: true, cell: ({ status }) => status.podIP ?? "<none>" },
  { name: "Node", wide: true, cell: ({ spec }) => spec.nodeName },
];
