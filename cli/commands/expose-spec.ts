import { AppError } from "#proto/error.ts";
import { LOAD_BALANCER_IPS_ANNOTATION, type ServiceInput } from "#proto/service.ts";
import { wholeOption, type PortOption } from "../options.ts";

/** Options of `expose` that say where clients from outside connect, and who may. */
export interface OutsideOptions {
  readonly type?: "ClusterIP" | "NodePort" | "LoadBalancer";
  readonly nodePort?: string;
  readonly externalIp: readonly string[];
  readonly loadBalancerIp: readonly string[];
  readonly sourceRange: readonly string[];
  readonly externalTrafficPolicy?: "Cluster" | "Local";
  readonly sessionAffinity?: "None" | "ClientIP";
}

interface Outside {
  readonly spec: Pick<
    ServiceInput["spec"],
    "type" | "externalIPs" | "loadBalancerIP" | "loadBalancerSourceRanges" | "externalTrafficPolicy" | "sessionAffinity"
  >;
  readonly annotations: Record<string, string>;
}

/** Pure; whether addresses and ports are free is for the server to say. Throws Usage. */
export function outsideOf(options: OutsideOptions): Outside {
  const { externalIp, loadBalancerIp, sourceRange, externalTrafficPolicy, sessionAffinity } = options;
  const type = typeOf(options);
  return {
    spec: {
      type,
      ...(externalIp.length > 0 && { externalIPs: [...externalIp] }),
      ...(loadBalancerIp.length === 1 && { loadBalancerIP: loadBalancerIp[0] }),
      ...(sourceRange.length > 0 && { loadBalancerSourceRanges: [...sourceRange] }),
      ...(externalTrafficPolicy && { externalTrafficPolicy }),
      ...(sessionAffinity && { sessionAffinity }),
    },
    // The field holds one; a service of two families has two.
    annotations: loadBalancerIp.length > 1 ? { [LOAD_BALANCER_IPS_ANNOTATION]: loadBalancerIp.join(",") } : {},
  };
}

/** The type follows from what only it can have. */
function typeOf({ type, nodePort, loadBalancerIp, sourceRange }: OutsideOptions): NonNullable<OutsideOptions["type"]> {
  const only = loadBalancerIp.length > 0 ? "--load-balancer-ip" : sourceRange.length > 0 ? "--source-range" : undefined;
  if (only !== undefined && type !== undefined && type !== "LoadBalancer")
    throw new AppError("Usage", `${only} is for --type LoadBalancer, not ${type}`);
  if (nodePort !== undefined && type === "ClusterIP") throw new AppError("Usage", "--node-port is for --type NodePort or LoadBalancer");
  return type ?? (only === undefined ? (nodePort === undefined ? "ClusterIP" : "NodePort") : "LoadBalancer");
}

export function withNodePort<Port extends PortOption>(
  ports: readonly Port[],
  nodePort: string | undefined,
): (Port & { nodePort?: number })[] {
  if (nodePort === undefined) return [...ports];
  if (ports.length !== 1) throw new AppError("Usage", "--node-port needs exactly one --port");
  const number = wholeOption("--node-port", nodePort, { min: 1, max: 65_535 });
  return ports.map((port) => ({ ...port, nodePort: number }));
}
