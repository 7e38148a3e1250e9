import type { CompiledService, Frontend, HealthCheckPort, ServiceChange, ServiceKey } from "./table.ts";

/** What the Services of a table mean for others than the kernel, by Service; only those that have something. Kept up by changes: reading is free. */
export interface ServiceNotes {
  /** Addresses that this host does not serve, for people. */
  readonly refused: ReadonlyMap<ServiceKey, CompiledService["refused"]>;
  /** Ports at which load balancers ask whether this host has endpoints. */
  readonly healthChecks: ReadonlyMap<ServiceKey, HealthCheckPort>;
  /** Node ports, one for each family: what the listeners on loopback serve. */
  readonly nodePorts: ReadonlyMap<ServiceKey, readonly Frontend[]>;
}

export interface ServiceNotesKeeper {
  readonly notes: ServiceNotes;
  /** In place of all that was. */
  replace(services: ReadonlyMap<ServiceKey, CompiledService>): void;
  /** Whether something that is noted is different now. */
  follow(changes: readonly ServiceChange[]): boolean;
}

export function createServiceNotes(): ServiceNotesKeeper {
  const refused = new Map<ServiceKey, CompiledService["refused"]>();
  const healthChecks = new Map<ServiceKey, HealthCheckPort>();
  const nodePorts = new Map<ServiceKey, readonly Frontend[]>();

  function put(key: ServiceKey, service: CompiledService | undefined): boolean {
    const ports = service?.frontends.filter(({ scope }) => scope === "nodePort") ?? [];
    // All three, whatever the first says.
    const changed = [
      set(refused, key, service && service.refused.length > 0 ? service.refused : undefined),
      set(healthChecks, key, service?.healthCheck),
      set(nodePorts, key, ports.length > 0 ? ports : undefined),
    ];
    return changed.includes(true);
  }

  return {
    notes: { refused, healthChecks, nodePorts },
    replace(services) {
      for (const map of [refused, healthChecks, nodePorts]) map.clear();
      for (const [key, service] of services) put(key, service);
    },
    follow: (changes) => changes.map(({ key, next }) => put(key, next)).includes(true),
  };
}

function set<Value>(map: Map<ServiceKey, Value>, key: ServiceKey, value: Value | undefined): boolean {
  const before = map.get(key);
  if (value === undefined) map.delete(key);
  else map.set(key, value);
  return JSON.stringify(before) !== JSON.stringify(value);
}
