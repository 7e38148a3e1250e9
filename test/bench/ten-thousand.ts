import type { CompiledService, ForwardingTable, ServiceChange } from "#agent/compile/table.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "../tables.ts";

/** N Services with two endpoints each, as a server would have them: virtual IPs in a row, endpoints that exist nowhere. */

export const HOST_IP = "172.30.0.1";

/** How many addresses of the range come before the first service: network, and what the server keeps for itself. */
const FIRST = 256;

export function virtualIp(index: number): string {
  const at = FIRST + index;
  return `10.96.${at >> 8}.${at & 255}`;
}

export interface Shape {
  /** Ports of this host at which those services answer that lead somewhere, by their number. */
  readonly backends?: ReadonlyMap<number, readonly number[]>;
  /** How many changes (changeOf) there were. */
  readonly changes?: number;
}

export function tableOf(services: number, { backends, changes = 0 }: Shape = {}): ForwardingTable {
  const all = Array.from({ length: services }, (_, index) => serviceOf(index, backends?.get(index)));
  for (let round = 1; round <= changes; round++) {
    const { index, times } = turnOf(round, services);
    all[index] = serviceOf(index, undefined, times);
  }
  return aTable(all, aHostTable({ nodeIps: [HOST_IP] }));
}

/** The Service is at the given round of its changes: one of its endpoints has another address in each. */
export function serviceOf(index: number, localPorts?: readonly number[], round = 0): CompiledService {
  const key = `default/s${index}`;
  const [high, low] = [(index >> 7) & 255, 2 * (index & 127)];
  const far = [aBackend(`172.29.${high}.${low}`), aBackend(`172.28.${(high + round) & 255}.${low + 1}`)];
  const near = localPorts?.map((port) => aBackend(HOST_IP, port, { isLocal: true }));
  const backends = (near ?? far).toSorted((a, b) => (`${a.address} ${a.port}` < `${b.address} ${b.port}` ? -1 : 1));
  return aCompiled([aFrontend({ id: `${key}:http`, address: virtualIp(index), backends })], key);
}

/** Endpoint change number `round` (from 1) of `services`: scattered, and no service has its second before all have had their first. */
export function changeOf(round: number, services: number): ServiceChange {
  const { index, times } = turnOf(round, services);
  return { key: `default/s${index}`, previous: serviceOf(index, undefined, times - 1), next: serviceOf(index, undefined, times) };
}

function turnOf(round: number, services: number): { index: number; times: number } {
  return { index: ((round - 1) * 7919) % services, times: Math.floor((round - 1) / services) + 1 }; // a prime reaches all
}
