import type { Frontend, HostTable, ServiceKey } from "#agent/compile/table.ts";
import type { TableSink } from "#agent/dataplane/mailbox.ts";
import { followServices } from "#agent/follow-services.ts";
import { createListenerSet, unlessNoIpv6, type Open } from "#agent/listeners/listener-set.ts";
import { isAtLoopback, LOOPBACK, nodePortAddress } from "#agent/listeners/node-port-places.ts";
import type { IpFamily } from "#proto/ip.ts";
import { openTcpRelay } from "./tcp-relay.ts";
import { createUdpSessions, openUdpRelay } from "./udp-relay.ts";

/**
 * 127.0.0.1:NODEPORT and [::1]:NODEPORT. The kernel could translate loopback only with route_localnet, which opens every service on 127.0.0.1 to the
 * neighbours: so small listeners pass on what comes there to the node port at the node's own address, and the kernel balances.
 */
export interface LocalPortsDeps {
  /** A port of a Service cannot be opened; undefined = it can again. */
  readonly onTrouble: (port: string, trouble: string | undefined) => void;
}

export interface LocalPorts extends TableSink {
  run(signal: AbortSignal): Promise<void>;
}

/** Where a listener stands, and where it passes on to. */
interface Place {
  readonly id: string;
  readonly family: IpFamily;
  readonly protocol: "TCP" | "UDP";
  readonly port: number;
  /** Where the service is reached when node ports are at loopback only. */
  readonly clusterAddress: string | undefined;
  readonly clusterPort: number;
}

export function createLocalPorts({ onTrouble }: LocalPortsDeps): LocalPorts {
  const listeners = createListenerSet({ onTrouble });
  const sessions = createUdpSessions();
  const places = new Map<ServiceKey, readonly Place[]>();
  let host: HostTable | undefined;

  const onwardOf = (place: Place): { address: string; port: number } | undefined => {
    const own = host && nodePortAddress(host, place.family);
    if (own !== undefined) return { address: own, port: place.port };
    return place.clusterAddress === undefined ? undefined : { address: place.clusterAddress, port: place.clusterPort };
  };
  const opening = (place: Place): Open => {
    const at = { address: LOOPBACK[place.family], port: place.port };
    const onward = (): ReturnType<typeof onwardOf> => onwardOf(place); // asked anew each time: the host may get another address
    return () => unlessNoIpv6(at.address, () => (place.protocol === "TCP" ? openTcpRelay(at, onward) : openUdpRelay(at, onward, sessions)));
  };
  const isServed = ({ family }: Place): boolean => host !== undefined && isAtLoopback(host, family);
  const want = (place: Place): void => listeners.want(nameOf(place), isServed(place) ? opening(place) : undefined);

  const sink = followServices<readonly Place[]>({
    of: ({ frontends }) => placesOf(frontends),
    onHost(next) {
      host = next;
      for (const place of [...places.values()].flat()) want(place);
    },
    onChange(key, now, before = []) {
      for (const place of before) listeners.want(nameOf(place), undefined);
      if (now) places.set(key, now);
      else places.delete(key);
      for (const place of now ?? []) want(place);
    },
  });
  return {
    put: (update) => sink.put(update),
    async run(signal) {
      try {
        await listeners.run(signal);
      } finally {
        sessions.close();
      }
    },
  };
}

/** SCTP has no sockets here. */
function placesOf(frontends: readonly Frontend[]): readonly Place[] | undefined {
  const found: Place[] = [];
  for (const { id, scope, family, protocol, port } of frontends) {
    if (scope !== "nodePort" || protocol === "SCTP") continue;
    const virtual = frontends.find(
      (other) => other.scope === "cluster" && other.id === id && other.family === family && other.protocol === protocol,
    );
    found.push({ id, family, protocol, port, clusterAddress: virtual?.address, clusterPort: virtual?.port ?? port });
  }
  return found.length === 0 ? undefined : found;
}

/** For people too. */
function nameOf({ id, family, protocol, port }: Place): string {
  return `node port ${family === "IPv6" ? `[${LOOPBACK.IPv6}]` : LOOPBACK.IPv4}:${port}/${protocol} of ${id}`;
}
