/** Which of the ready endpoints are near (EndpointSlice hints, made from Service.spec.trafficDistribution). */

export interface Hints {
  /** Nodes that should send here; empty = no hint. */
  readonly forNodes: readonly string[];
  readonly forZones: readonly string[];
}

/**
 * Those for this node, else those for its zone, else all. One endpoint without a hint turns a mode off: whoever wrote the slices does not hint (yet), or
 * has not finished, and the rest would get all the traffic.
 */
export function nearest<Endpoint extends Hints>(
  ready: readonly Endpoint[],
  { name, zone }: { readonly name: string; readonly zone: string | undefined },
): readonly Endpoint[] {
  if (ready.every(({ forNodes }) => forNodes.length > 0)) {
    const forNode = ready.filter(({ forNodes }) => forNodes.includes(name));
    if (forNode.length > 0) return forNode;
  }
  if (zone !== undefined && ready.every(({ forZones }) => forZones.length > 0)) {
    const forZone = ready.filter(({ forZones }) => forZones.includes(zone));
    if (forZone.length > 0) return forZone;
  }
  return ready;
}
