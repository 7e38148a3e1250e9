import { ADDRESS_CONFLICT, type Node } from "#proto/node.ts";
import type { StoredChange } from "../store/store.ts";
import type { EventRecorder } from "./events.ts";

/** Tells when a host says that addresses are its own which services have (admission/node.ts leaves them out). */
export function tellConflicts(changes: readonly StoredChange[], events: Pick<EventRecorder, "record">): void {
  for (const { type, object, previous } of changes) {
    if (object.kind !== "Node" || type === "DELETED") continue;
    const message = conflictOf(object);
    if (message === undefined || message === (previous?.kind === "Node" ? conflictOf(previous) : undefined)) continue;
    events.record(object, { type: "Warning", reason: ADDRESS_CONFLICT, message });
  }
}

function conflictOf(node: Node): string | undefined {
  return node.status.conditions.find(({ type }) => type === ADDRESS_CONFLICT)?.message;
}
