import type { Logger } from "pino";
import type { ObjectKey } from "#proto/meta.ts";
import { EXPOSE_ANNOTATION, type Workload } from "#proto/workload.ts";
import type { Store, StoredChange } from "../store/store.ts";
import { createReconciler } from "./run.ts";

/** Services that a Workload asks for (annotation fairlead.dev/expose): made once, where there is none; never changed, never taken away. */
export interface ExposedDeps {
  readonly store: Store;
  /** Makes the service, if there is none of that name. */
  readonly create: (manifest: ServiceManifest) => Promise<void>;
  readonly log: Pick<Logger, "warn">;
}

export interface ServiceManifest {
  readonly apiVersion: "v1";
  readonly kind: "Service";
  readonly metadata: { readonly name: string; readonly namespace: string; readonly annotations: Readonly<Record<string, string>> };
  readonly spec: {
    readonly selector: Readonly<Record<string, string>>;
    readonly ports: readonly {
      readonly name?: string;
      readonly port: number;
      readonly targetPort: number | string;
      readonly protocol: string;
    }[];
  };
}

/** Follows until the signal aborts; `ended` is to be awaited before the store is closed. */
export async function exposeServices({ store, create, log }: ExposedDeps, signal: AbortSignal): Promise<{ ended(): Promise<void> }> {
  const services = createReconciler({ name: "exposed-services", reconcile: createFor, log, signal });

  /** `key` is the Workload's. */
  async function createFor(key: ObjectKey): Promise<void> {
    const [namespace = "", name = ""] = key.split("/");
    const workload = await store.get({ kind: "Workload", namespace, name });
    const manifest = workload?.kind === "Workload" ? serviceFor(workload) : undefined;
    if (!manifest || (await store.get({ kind: "Service", namespace, name: manifest.metadata.name }))) return;
    await create(manifest);
  }

  function follow(changes: readonly StoredChange[]): void {
    for (const { object, type, previous, revision } of changes) {
      if (object.kind !== "Workload" || type === "DELETED") continue;
      const asks = askedBy(object);
      const before = previous?.kind === "Workload" ? askedBy(previous) : undefined;
      if (asks !== undefined && asks !== before) services.wake(`${object.metadata.namespace ?? ""}/${object.metadata.name}`, revision);
    }
  }

  const unfollow = store.onCommit(follow);
  signal.addEventListener("abort", unfollow, { once: true });
  return { ended: () => services.settled() };
}

function askedBy({ metadata }: Workload): string | undefined {
  return metadata.annotations?.[EXPOSE_ANNOTATION];
}

/** undefined: it does not ask, or has nothing that a service could offer. Ports are those that the program has, also where they are published as others. */
export function serviceFor({ metadata, spec }: Workload): ServiceManifest | undefined {
  const name = metadata.annotations?.[EXPOSE_ANNOTATION];
  const app = metadata.labels?.["app"];
  if (name === undefined || app === undefined || spec.ports.length === 0) return undefined;
  const isOne = spec.ports.length === 1;
  const ports = spec.ports.map(({ name: portName, port, containerPort = port, protocol }) => ({
    ...(isOne ? {} : { name: portName ?? `${protocol.toLowerCase()}-${containerPort}` }),
    port: containerPort,
    targetPort: portName ?? containerPort,
    protocol,
  }));
  const annotations = { "fairlead.dev/made-for": `Workload ${metadata.name}` };
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: metadata.namespace ?? "default", annotations },
    spec: { selector: { app }, ports },
  };
}
