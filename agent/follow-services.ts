import type { CompiledService, HostTable, ServiceKey } from "./compile/table.ts";
import type { TableSink } from "./dataplane/mailbox.ts";

/** Follows one thing that Services mean besides packets, at the cost of what changes. */
export interface ServiceFollower<T> {
  /** undefined = this Service has none. */
  readonly of: (service: CompiledService) => T | undefined;
  /** Never for what is as it was. */
  readonly onChange: (key: ServiceKey, now: T | undefined, before: T | undefined) => void;
  /** Before the changes of the same table. */
  readonly onHost?: (host: HostTable) => void;
}

export function followServices<T>({ of, onChange, onHost }: ServiceFollower<T>): TableSink {
  const known = new Map<ServiceKey, T>();
  const set = (key: ServiceKey, service: CompiledService | undefined): void => {
    const before = known.get(key);
    const now = service && of(service);
    if (JSON.stringify(before) === JSON.stringify(now)) return;
    if (now === undefined) known.delete(key);
    else known.set(key, now);
    onChange(key, now, before);
  };
  return {
    put({ table, changes }) {
      if (table) {
        onHost?.(table.host);
        for (const key of [...known.keys()]) if (!table.services.has(key)) set(key, undefined);
        for (const [key, service] of table.services) set(key, service);
      }
      for (const { key, next } of changes) set(key, next);
    },
  };
}
