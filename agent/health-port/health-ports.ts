import type { IpFamily } from "#proto/ip.ts";
import type { HealthCheckPort, HostTable, ServiceKey } from "#agent/compile/table.ts";
import type { TableSink } from "#agent/dataplane/mailbox.ts";
import { followServices } from "#agent/follow-services.ts";
import { createListenerSet, unlessNoIpv6, type Open } from "#agent/listeners/listener-set.ts";
import { openHttp, type HttpAnswer } from "#agent/listeners/http.ts";
import { nodePortAddresses } from "#agent/listeners/node-port-places.ts";

/**
 * Service.spec.healthCheckNodePort: a load balancer asks each host whether it has ready endpoints of a Service with externalTrafficPolicy Local, and
 * sends connections only to those that have.
 */
export interface HealthPortsDeps {
  /** Those of the fleet. */
  readonly families: readonly IpFamily[];
  /** Does this host's kernel follow? */
  readonly isHealthy: () => boolean;
  /** The port of a Service cannot be opened; undefined = it can again. */
  readonly onTrouble: (service: ServiceKey, trouble: string | undefined) => void;
}

export interface HealthPorts extends TableSink {
  run(signal: AbortSignal): Promise<void>;
}

export function createHealthPorts({ families, isHealthy, onTrouble }: HealthPortsDeps): HealthPorts {
  const checks = new Map<ServiceKey, HealthCheckPort>();
  let addresses: readonly string[] = [];
  const listeners = createListenerSet({ onTrouble: (name, trouble) => onTrouble(name.slice(0, name.indexOf(" ")), trouble) });
  const nameOf = (key: ServiceKey, port: number, address: string): string => `${key} ${port} ${address}`;
  const answer = (key: ServiceKey): HttpAnswer => answerHealth(key, checks.get(key)?.localEndpoints ?? 0, isHealthy());

  const opening =
    (key: ServiceKey, port: number, address: string): Open =>
    () =>
      unlessNoIpv6(address, () => openHttp({ address, port }, () => answer(key)));

  function place(key: ServiceKey, port: number, at: readonly string[], want: "open" | "closed"): void {
    for (const address of at) listeners.want(nameOf(key, port, address), want === "open" ? opening(key, port, address) : undefined);
  }

  const sink = followServices<HealthCheckPort>({
    of: ({ healthCheck }) => healthCheck,
    onHost(host: HostTable) {
      const next = families.flatMap((family) => nodePortAddresses(host, family));
      const gone = addresses.filter((address) => !next.includes(address));
      const came = next.filter((address) => !addresses.includes(address));
      addresses = next;
      for (const [key, { port }] of checks) {
        place(key, port, gone, "closed");
        place(key, port, came, "open");
      }
    },
    onChange(key, now, before) {
      if (now) checks.set(key, now);
      else checks.delete(key);
      if (now?.port === before?.port) return;
      if (before) place(key, before.port, addresses, "closed");
      if (now) place(key, now.port, addresses, "open");
    },
  });
  return { put: (update) => sink.put(update), run: (signal) => listeners.run(signal) };
}

/** As load balancers for Kubernetes expect it. */
export function answerHealth(service: ServiceKey, localEndpoints: number, isHealthy: boolean): HttpAnswer {
  const slash = service.indexOf("/");
  const [namespace, name] = [service.slice(0, slash), service.slice(slash + 1)];
  return {
    status: localEndpoints > 0 && isHealthy ? 200 : 503,
    type: "application/json",
    body: `${JSON.stringify({ service: { namespace, name }, localEndpoints, serviceProxyHealthy: isHealthy })}\n`,
    headers: { "x-load-balancing-endpoint-weight": String(localEndpoints) },
  };
}
