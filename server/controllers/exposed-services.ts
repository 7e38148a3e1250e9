import type { Logger } from "pino";
import type { KindName } from "#proto/kinds.ts";
import { keyOf, type ObjectKey } from "#proto/meta.ts";
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

/** What a crash left undone was asked for a moment before it. All that was asked for earlier was made, and may have been taken away since by somebody. */
const LOOKED_AT_AGAIN = 5000;
const KINDS: ReadonlySet<KindName> = new Set(["Workload", "Service"]);

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
    for (const change of changes) if (newlyAsked(change) !== undefined) services.wake(keyOf(change.object), change.revision);
  }

  const unfollow = store.onCommit(follow);
  signal.addEventListener("abort", unfollow, { once: true });
  for (const { workload, revision } of await unmet(store)) services.wake(workload, revision);
  return { ended: () => services.settled() };
}

interface Asked {
  readonly workload: ObjectKey;
  readonly revision: number;
}

/** Of the newest changes, those that ask for a service which has neither come nor gone since. */
async function unmet(store: Store): Promise<readonly Asked[]> {
  const byService = new Map<ObjectKey, Asked>();
  const end = store.revision;
  for (let since = end - LOOKED_AT_AGAIN; since < end;) {
    const { changes, revision } = await store.changesSince(Math.max(since, store.compactedRevision), { kinds: KINDS, limit: 1000 });
    for (const change of changes) {
      const { object } = change;
      const asked = newlyAsked(change);
      if (object.kind === "Service") byService.delete(keyOf(object));
      else if (asked !== undefined)
        byService.set(`${object.metadata.namespace ?? ""}/${asked}`, { workload: keyOf(object), revision: change.revision });
    }
    since = revision;
  }
  return [...byService.values()];
}

/** The name of the service that the Workload asks for since this change. */
function newlyAsked({ object, type, previous }: StoredChange): string | undefined {
  if (object.kind !== "Workload" || type === "DELETED") return undefined;
  const asked = askedBy(object);
  return previous?.kind === "Workload" && askedBy(previous) === asked ? undefined : asked;
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
