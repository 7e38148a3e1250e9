import { z } from "zod";
import { columnsOf } from "#proto/columns.ts";
import { Event } from "#proto/event.ts";
import { kinds } from "#proto/kinds.ts";
import { API_VERSION_TEXT, type ObjectMeta } from "#proto/meta.ts";
import type { DerivedKind, View } from "../view.ts";

/** Events by the names that events.k8s.io/v1 has for what core/v1 calls otherwise (k8s.io/api/events/v1). One store; kube-proxy writes them so. Pure. */

/** Name there → name in core/v1. */
const NAMES: Readonly<Record<string, string>> = {
  reportingController: "reportingComponent",
  regarding: "involvedObject",
  note: "message",
  deprecatedSource: "source",
  deprecatedFirstTimestamp: "firstTimestamp",
  deprecatedLastTimestamp: "lastTimestamp",
  deprecatedCount: "count",
};
const NAMES_THERE: Readonly<Record<string, string>> = Object.fromEntries(Object.entries(NAMES).map(([there, here]) => [here, there]));

export const EVENTS_KIND: DerivedKind = {
  ...kinds.Event,
  group: "events.k8s.io",
  selectableFields: kinds.Event.selectableFields.map((field) => fieldIn(field, NAMES_THERE)),
  merging: renamed(kinds.Event.merging, NAMES_THERE),
  schema: z
    .looseObject({
      ...renamed(Event.shape, NAMES_THERE),
      apiVersion: z.literal("events.k8s.io/v1").describe(API_VERSION_TEXT),
      regarding: Event.shape.involvedObject.optional(),
    })
    .describe("An Event of core/v1, by the names of events.k8s.io/v1."),
  verbs: ["create", "delete", "get", "list", "patch", "watch"],
  of: "Event",
};

export interface EventV1 extends Readonly<Record<string, unknown>> {
  readonly metadata: ObjectMeta;
}

export function eventV1Of(event: Event): EventV1 {
  const { reportingComponent = event.source.component, reportingInstance = event.source.host } = event;
  const named = renamed({ ...event, reportingComponent, reportingInstance, eventTime: event.eventTime ?? null }, NAMES_THERE);
  return { ...named, apiVersion: "events.k8s.io/v1", kind: "Event", metadata: event.metadata };
}

/** What came as events.k8s.io/v1, as core/v1; not validated yet. */
export function coreBodyOf(body: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { apiVersion = "events.k8s.io/v1", ...named } = renamed(body, NAMES);
  return { involvedObject: {}, ...named, apiVersion: apiVersion === "events.k8s.io/v1" ? "v1" : apiVersion };
}

/** `regarding.kind` → `involvedObject.kind`. */
export function coreFieldOf(field: string): string {
  return fieldIn(field, NAMES);
}

function fieldIn(field: string, names: Readonly<Record<string, string>>): string {
  const [first = "", ...rest] = field.split(".");
  return [(Object.hasOwn(names, first) ? names[first] : undefined) ?? first, ...rest].join(".");
}

function renamed<Value>(object: Readonly<Record<string, Value>>, names: Readonly<Record<string, string>>): Readonly<Record<string, Value>> {
  const entries = Object.entries(object).map(([name, value]): [string, Value] => [
    (Object.hasOwn(names, name) ? names[name] : undefined) ?? name,
    value,
  ]);
  return Object.fromEntries<Value>(entries);
}

export function eventV1View(): View<EventV1> {
  const shown = new WeakMap<EventV1, Event>(); // the columns are those of core/v1
  return {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    columns: columnsOf("Event", { wide: true }).map((column) => ({
      ...column,
      cell: (event: EventV1, now: number) => {
        const core = shown.get(event);
        return core ? column.cell(core, now) : "";
      },
    })),
    show: (object) => {
      if (object.kind !== "Event") throw new Error(`${object.kind} is not shown as an Event`);
      const event = eventV1Of(object);
      shown.set(event, object);
      return event;
    },
  };
}
