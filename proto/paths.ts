/** Paths of the routes that are not Kubernetes resources; KUBE resources have theirs by `pathOf`. */
const BASE = "/apis/fairlead.dev/v1";

export const paths = {
  snapshot: `${BASE}/snapshot`,
  changes: `${BASE}/changes`,
  receipts: `${BASE}/receipts`,
  join: `${BASE}/join`,
  /** ClusterFacts, for a host that holds a join token. */
  cluster: `${BASE}/cluster`,
  status: `${BASE}/fleetstatus`,
  joinTokens: `${BASE}/jointokens`,
  joinToken: (id: string): string => `${BASE}/jointokens/${encodeURIComponent(id)}`,
  heartbeat: (node: string): string => `${BASE}/nodes/${encodeURIComponent(node)}/heartbeat`,
  renew: (namespace: string, workload: string): string =>
    `${BASE}/namespaces/${encodeURIComponent(namespace)}/workloads/${encodeURIComponent(workload)}/renew`,
  /** The CA certificate, PEM, for a host that will compare its fingerprint; needs no credential. */
  ca: "/ca.pem",
  openapi: "/openapi.json",
  livez: "/livez",
  readyz: "/readyz",
  metrics: "/metrics",
  version: "/version",
} as const;
