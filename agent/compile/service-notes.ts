import type { CompiledService, ServiceChange, ServiceKey } from "./table.ts";

/** What Services mean for people; only those of which there is something to say. Kept up by changes: reading is free. */
export interface ServiceNotes {
  /** Addresses that this host does not serve. */
  readonly refused: ReadonlyMap<ServiceKey, CompiledService["refused"]>;
}

export interface ServiceNotesKeeper {
  readonly notes: ServiceNotes;
  /** In place of all that was. */
  replace(services: ReadonlyMap<ServiceKey, CompiledService>): void;
  follow(changes: readonly ServiceChange[]): void;
}

export function createServiceNotes(): ServiceNotesKeeper {
  const refused = new Map<ServiceKey, CompiledService["refused"]>();
  const put = (key: ServiceKey, service: CompiledService | undefined): void => {
    if (service && service.refused.length > 0) refused.set(key, service.refused);
    else refused.delete(key);
  };
  return {
    notes: { refused },
    replace(services) {
      refused.clear();
      for (const [key, service] of services) put(key, service);
    },
    follow(changes) {
      for (const { key, next } of changes) put(key, next);
    },
  };
}
