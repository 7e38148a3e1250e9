import { AppError } from "#proto/error.ts";
import type { Event } from "#proto/event.ts";
import { DEFAULT_NAMESPACE } from "#proto/namespace.ts";
import { fault, invalid } from "#proto/parse.ts";
import type { Workload } from "#proto/workload.ts";
import type { Identity } from "../trust/identity.ts";

const MAX_EVENT_BYTES = 8192;

export interface EventParts {
  readonly identity: Identity;
  readonly workload: (namespace: string, name: string) => Promise<Workload | undefined>;
}

/** Small, and of a host only about itself and what runs on it. Throws Invalid or Forbidden. */
export async function admitEvent(event: Event, { identity, workload }: EventParts): Promise<Event> {
  const bytes = Buffer.byteLength(JSON.stringify(event));
  if (bytes > MAX_EVENT_BYTES)
    throw invalid("Event", event.metadata.name, [fault("<object>", `must be no more than ${MAX_EVENT_BYTES} bytes, and is ${bytes}`)]);
  if (identity.kind !== "node") return event;
  if (!(await isOwnNews(event, identity.name, workload))) throw foreignNews(event, identity.name);
  // Nobody speaks in another host's name.
  return { ...event, source: { ...event.source, host: identity.name } };
}

/** An Event is in the namespace of what it is about; of a Node, which is in none, in the default one. */
async function isOwnNews({ metadata, involvedObject }: Event, node: string, workload: EventParts["workload"]): Promise<boolean> {
  const { kind, name = "", namespace: about } = involvedObject;
  const { namespace = DEFAULT_NAMESPACE } = metadata;
  if (kind === "Node") return name === node && namespace === DEFAULT_NAMESPACE;
  if (kind !== "Workload" || (about !== undefined && about !== namespace)) return false;
  return (await workload(namespace, name))?.spec.node === node;
}

function foreignNews({ metadata, involvedObject }: Event, node: string): AppError {
  const { kind = "object", name = "" } = involvedObject;
  const what = `${kind} "${name}"`.slice(0, 300);
  return new AppError(
    "Forbidden",
    `events "${metadata.name}" is forbidden: User "system:node:${node}" cannot create what is about ${what} in the namespace "${metadata.namespace ?? ""}"`,
    {
      subject: { name: metadata.name, group: "", kind: "events" },
      hint: "a host's credential may tell of its own Node (in the namespace default) and of its own Workloads (in theirs); use an admin's kubeconfig",
    },
  );
}
