import type { Backend, CompiledService, ForwardingTable, Frontend, HostTable } from "#agent/compile/table.ts";
import { barePlace } from "#agent/dataplane/iptables/bare-place.ts";

/** Forwarding tables for tests, of which each says only what it is about. */

export function aBackend(address: string, port = 8080, more: Partial<Backend> = {}): Backend {
  return { address, port, isLocal: false, weight: 1, ...more };
}

export function aFrontend(more: Partial<Frontend> = {}): Frontend {
  return { ...barePlace({ id: "default/web:http", family: "IPv4", scope: "cluster", address: "10.96.0.10", port: 80 }), ...more };
}

export function aCompiled(frontends: readonly Frontend[], key = "default/web", more: Partial<CompiledService> = {}): CompiledService {
  return { key, frontends, healthCheck: undefined, refused: [], ...more };
}

export function aHostTable(more: Partial<HostTable> = {}): HostTable {
  return {
    serviceCidrs: ["10.96.0.0/16"],
    nodeIps: [],
    localCidrs: [],
    dnsIps: [],
    masqueradeAll: false,
    nodePortCidrs: [],
    forwards: [],
    ...more,
  };
}

/** Host 1 of a fleet (test/fleet/addresses.ts), in IPv4. */
export const fleetHost: HostTable = aHostTable({ nodeIps: ["172.30.0.1"], localCidrs: ["10.200.1.0/24"] });

export function aTable(services: readonly CompiledService[], host: HostTable = aHostTable()): ForwardingTable {
  return { host, services: new Map(services.map((service) => [service.key, service])) };
}
