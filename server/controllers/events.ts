import { createHash, randomUUID } from "node:crypto";
import type { Logger } from "pino";
import type { Event } from "#proto/event.ts";
import { apiVersionOf, kinds, type AnyObject } from "#proto/kinds.ts";
import { DEFAULT_NAMESPACE } from "#proto/namespace.ts";
import { isAppError } from "#proto/error.ts";
import type { Store } from "../store/store.ts";

/** What happened, for people. Repetitions are counted in one Event; compaction.ts removes the old ones. */
export interface EventRecorder {
  /** Never fails and never waits: what cannot be written is dropped, and counted. */
  record(about: EventSubject, news: News): void;
  readonly dropped: number;
  stop(): Promise<void>;
}

export type EventSubject = Pick<AnyObject, "kind" | "metadata"> | "fleet";

export interface News {
  readonly type: "Normal" | "Warning";
  /** One CamelCase word. */
  readonly reason: string;
  readonly message: string;
}

/** A burst of so many, then so many a second: an Event is a durable write. */
const BURST = 100;
const PER_SECOND = 10;

interface Deps {
  readonly store: Store;
  readonly log: Pick<Logger, "warn">;
}

export function createEventRecorder({ store, log }: Deps): EventRecorder {
  const running = new Set<Promise<void>>();
  let budget = BURST;
  let budgetAt = performance.now();
  let dropped = 0;
  let stopped = false;

  function start(work: Promise<void>): void {
    const settled = work.catch((error: unknown) => {
      if (!stopped) log.warn({ err: error }, "could not write an event");
    });
    running.add(settled);
    void settled.finally(() => running.delete(settled)); // `settled` never rejects
  }

  function mayWrite(): boolean {
    const now = performance.now();
    budget = Math.min(BURST, budget + ((now - budgetAt) / 1000) * PER_SECOND);
    budgetAt = now;
    if (budget < 1 || stopped) return false;
    budget--;
    return true;
  }

  async function write(event: Event): Promise<void> {
    const { name, namespace = "" } = event.metadata;
    for (let attempt = 1; ; attempt++) {
      const before = await store.get({ kind: "Event", namespace, name });
      const object = before?.kind === "Event" ? repeated(before, event) : event;
      try {
        await store.transact([{ op: "put", object, expect: before ? Number(before.metadata.resourceVersion) : "create" }]);
        return;
      } catch (error) {
        // Counted by somebody else at the same moment.
        if (attempt === 3 || !(isAppError(error, "Conflict") || isAppError(error, "AlreadyExists") || isAppError(error, "NotFound")))
          throw error;
      }
    }
  }

  return {
    record: (about, news) => {
      if (mayWrite()) start(write(eventOf(about, news)));
      else dropped++;
    },
    get dropped() {
      return dropped;
    },
    stop: async () => {
      stopped = true;
      await Promise.all(running);
    },
  };
}

function eventOf(about: EventSubject, { type, reason, message }: News): Event {
  const subject = about === "fleet" ? { kind: "Fleet", name: "fleet" } : referenceTo(about);
  const namespace = about === "fleet" ? DEFAULT_NAMESPACE : (about.metadata.namespace ?? DEFAULT_NAMESPACE);
  const at = `${new Date().toISOString().slice(0, 19)}Z`;
  // The same news about the same object is the same Event.
  const id = createHash("sha256")
    .update(JSON.stringify([subject, type, reason, message]))
    .digest("hex")
    .slice(0, 16);
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name: `${subject.name.slice(0, 200)}.${id}`, namespace, uid: randomUUID(), creationTimestamp: at },
    involvedObject: subject,
    type,
    reason,
    message: message.slice(0, 1024),
    source: { component: "fairlead-server" },
    firstTimestamp: at,
    lastTimestamp: at,
    count: 1,
  };
}

function referenceTo({ kind, metadata }: Pick<AnyObject, "kind" | "metadata">) {
  const { name, namespace, uid } = metadata;
  return {
    kind,
    name,
    apiVersion: apiVersionOf(kinds[kind]),
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
  };
}

function repeated(before: Event, event: Event): Event {
  return { ...before, count: (before.count ?? 1) + 1, lastTimestamp: event.lastTimestamp };
}
