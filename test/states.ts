import { compileService, type NodeContext } from "#agent/compile/compile.ts";
import type { CompiledService } from "#agent/compile/table.ts";
import type { ClusterState } from "#agent/sync/state.ts";
import { EndpointSlice, serviceKeyOf, type EndpointSliceInput } from "#proto/endpoint-slice.ts";
import { keyOf } from "#proto/meta.ts";
import { Service, type ServiceInput } from "#proto/service.ts";

/** What a host may have heard from its server, for tests, of which each says only what it is about. */

export const aNode: NodeContext = {
  name: "h1",
  addresses: ["172.30.0.1"],
  localCidrs: ["10.200.1.0/24"],
  masqueradeAll: false,
  nodePortCidrs: [],
  zone: undefined,
  reservedAddresses: new Map(),
};

export type Spec = Partial<ServiceInput["spec"]>;
export interface ServiceParts {
  readonly annotations?: Record<string, string>;
  readonly ingress?: { ip?: string; hostname?: string; ipMode?: string }[];
}
type Ends = EndpointSliceInput["endpoints"];
export type SliceParts = {
  name?: string;
  endpoints: Ends;
  ports?: EndpointSliceInput["ports"];
  addressType?: "IPv4" | "IPv6";
  service?: string | null;
};

export function aService(spec: Spec = {}, name = "web", more: ServiceParts = {}): Service {
  return Service.parse({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default", annotations: more.annotations },
    spec: { clusterIP: "10.96.0.10", ports: [{ name: "http", port: 80 }], ...spec },
    status: { loadBalancer: { ingress: more.ingress } },
  });
}

export function aSlice({
  name = "web-1",
  endpoints,
  ports = [{ name: "http", port: 8080 }],
  addressType = "IPv4",
  service = "web",
}: SliceParts): EndpointSlice {
  const labels = service === null ? {} : { "kubernetes.io/service-name": service };
  return EndpointSlice.parse({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace: "default", labels },
    addressType,
    endpoints,
    ports,
  });
}

export function aState(services: readonly Service[], slices: readonly EndpointSlice[], more: Partial<ClusterState> = {}): ClusterState {
  const slicesByService = new Map<string, Map<string, EndpointSlice>>();
  for (const slice of slices) {
    const key = serviceKeyOf(slice);
    if (key !== undefined)
      slicesByService.set(key, (slicesByService.get(key) ?? new Map<string, EndpointSlice>()).set(keyOf(slice), slice));
  }
  return {
    revision: 1,
    cluster: {
      domain: "cluster.local",
      serviceCidrs: ["10.96.0.0/16", "fd10::/112"],
      dnsIps: ["10.96.0.2"],
      nodePortRange: { from: 30000, to: 32767 },
      heartbeatIntervalMs: 1000,
      nodeTimeoutMs: 5000,
    },
    namespaces: new Map(),
    nodes: new Map(),
    services: new Map(services.map((service) => [keyOf(service), service])),
    slices: new Map(slices.map((slice) => [keyOf(slice), slice])),
    slicesByService,
    ownWorkloads: new Map(),
    ...more,
  };
}

export interface WebCase extends ServiceParts {
  readonly spec: Spec;
  /** Past the server's checks: what is on a host's disk may be older than they. */
  readonly unchecked?: object;
  /** One on another host unless said otherwise. */
  readonly endpoints?: SliceParts["endpoints"];
  readonly node?: Partial<NodeContext>;
}

/** What the service default/web means to the host. */
export function compileWeb({ spec, unchecked, endpoints = [ELSEWHERE], node, ...parts }: WebCase): CompiledService | undefined {
  const service = aService(spec, "web", parts);
  const state = aState([{ ...service, spec: { ...service.spec, ...unchecked } }], [aSlice({ endpoints })]);
  return compileService(state, { ...aNode, ...node }, "default/web");
}

const ELSEWHERE = { addresses: ["10.200.2.12"], nodeName: "h2" };
