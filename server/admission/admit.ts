import type { ClusterFacts } from "#proto/agents.ts";
import { AppError, type Cause } from "#proto/error.ts";
import { kinds, type AnyObject, type KindName } from "#proto/kinds.ts";
import type { Node } from "#proto/node.ts";
import type { Service } from "#proto/service.ts";
import type { Workload } from "#proto/workload.ts";
import type { Store, StoreKey } from "../store/store.ts";
import type { Identity } from "../trust/identity.ts";
import type { Admission, AdmissionRequest, Admitted, Operation } from "./admission.ts";
import { admitSlice } from "./endpoint-slice.ts";
import { admitEvent } from "./event.ts";
import { admitNode, nodeAddressClaim, nodeClaims, type NodeParts } from "./node.ts";
import { admitService, admitServiceStatus, serviceClaims, type ServiceParts } from "./service.ts";
import { followTaken } from "./taken.ts";
import { admitWorkload } from "./workload.ts";

export interface AdmissionDeps {
  readonly store: Store;
  readonly cluster: Pick<ClusterFacts, "serviceCidrs" | "dnsIps" | "nodePortRange">;
  /** Addresses for services of type LoadBalancer, one range of each IP family at most. */
  readonly loadBalancerCidrs?: readonly string[] | undefined;
  /** Canonical addresses that no service may have, each with what it is: `the address of this server`. */
  readonly reserved?: ReadonlyMap<string, string> | undefined;
  readonly random?: (() => number) | undefined;
  /** ms since 1970. */
  readonly now?: (() => number) | undefined;
}

export interface OpenAdmission extends Admission {
  /** Stops following the store. */
  close(): void;
}

export async function createAdmission(deps: AdmissionDeps): Promise<OpenAdmission> {
  const { store, cluster, loadBalancerCidrs = [], reserved = new Map<string, string>(), random = Math.random, now = Date.now } = deps;
  const taken = await followTaken({ store, cluster, loadBalancerCidrs, random });
  const { ranges, pools, networks, outside } = taken;
  await checkDnsIsFree(store, cluster);

  const holderOf = async (claim: string, own: StoreKey): Promise<StoreKey | undefined> => {
    const owner = await store.claimOwner(claim);
    return owner?.kind === own.kind && owner.namespace === own.namespace && owner.name === own.name ? undefined : owner;
  };
  const serviceParts = (own: StoreKey): ServiceParts => {
    const isTaken = async (claim: string): Promise<boolean> => (await holderOf(claim, own)) !== undefined;
    return {
      addresses: { ranges, pools, isTaken },
      ports: { range: taken.portRange, pool: taken.portPool, isTaken },
      balancer: {
        ranges: taken.balancerRanges,
        pools: taken.balancerPools,
        outside: {
          own: `${own.namespace}/${own.name}`,
          ranges,
          networks,
          reserved,
          addresses: outside,
          hostAt: async (ip) => (await store.claimOwner(nodeAddressClaim(ip)))?.name,
        },
      },
    };
  };
  const nodeParts = (own: StoreKey, identity: Identity): NodeParts => ({
    ranges,
    networks,
    holder: async (claim) => (await holderOf(claim, own))?.name,
    serviceAt: (ip) => outside.at(ip).values().next().value,
    serviceWithin: (cidr) => outside.within(cidr),
    onlyPrivateRoutes: identity.kind === "node",
    now,
  });
  const readNode = async (name: string): Promise<Node | undefined> => {
    const node = await store.get({ kind: "Node", namespace: "", name });
    return node?.kind === "Node" ? node : undefined;
  };
  const readWorkload = async (namespace: string, name: string): Promise<Workload | undefined> =>
    asWorkload(await store.get({ kind: "Workload", namespace, name }));

  async function admitAny({ operation, identity, previous, next, faults = [] }: AnyRequest): Promise<Admitted> {
    if (identity.kind === "node") requireOwn(identity, previous, next, operation);
    const key: StoreKey = { kind: next.kind, namespace: next.metadata.namespace ?? "", name: next.metadata.name };
    if (operation === "delete") return { object: next, claims: undefined, warnings: [] };
    switch (next.kind) {
      case "Service": {
        if (operation === "status") {
          const service = await admitServiceStatus(asService(previous), next, serviceParts(key), faults);
          return { object: service, claims: serviceClaims(service), warnings: [] };
        }
        const { service, warnings } = await admitService(asService(previous), next, serviceParts(key), faults);
        return { object: service, claims: serviceClaims(service), warnings };
      }
      case "Node": {
        const { node, warnings } = await admitNode(asNode(previous), next, nodeParts(key, identity), faults);
        return { object: node, claims: nodeClaims(node), warnings };
      }
      case "Workload": {
        if (operation === "status") break;
        const parts = { ranges, node: readNode, onlyOwnAddresses: identity.kind === "node" };
        return { object: await admitWorkload(asWorkload(previous), next, parts, faults), claims: undefined, warnings: [] };
      }
      case "EndpointSlice":
        admitSlice(previous?.kind === "EndpointSlice" ? previous : undefined, next, ranges, faults);
        break;
      case "Event":
        if (faults.length > 0) break;
        return { object: await admitEvent(next, { identity, workload: readWorkload }), claims: undefined, warnings: [] };
      case "Namespace":
        break;
    }
    return { object: next, claims: undefined, warnings: [] };
  }

  return {
    admit: async <Kind extends KindName>(request: AdmissionRequest<Kind>) =>
      // The answer's object is of the request's kind: every branch above gives back what it was given, filled in.
      await admitAny(request),
    close: taken.close,
  };
}

interface AnyRequest {
  readonly operation: Operation;
  readonly identity: Identity;
  readonly previous: AnyObject | undefined;
  readonly next: AnyObject;
  readonly faults?: readonly Cause[] | undefined;
}

/** The configuration may have changed since somebody got the address. */
async function checkDnsIsFree(store: Store, { dnsIps }: Pick<ClusterFacts, "dnsIps">): Promise<void> {
  for (const ip of dnsIps) {
    const owner = await store.claimOwner(`ip/${ip}`);
    if (owner)
      throw new AppError(
        "Invalid",
        `the DNS service cannot have the address ${ip}: the service ${owner.namespace}/${owner.name} holds it`,
        {
          hint: "start with the former address of the DNS service, or delete that service first",
        },
      );
  }
}

/** A host may write its own Node, its own Workloads, and Events that it signed; what a new one may be about, admitEvent says. */
function requireOwn(identity: Identity & { kind: "node" }, previous: AnyObject | undefined, next: AnyObject, operation: Operation): void {
  const isOwn = (object: AnyObject | undefined): boolean =>
    object === undefined ||
    (object.kind === "Event" && (object === next || object.source.host === identity.name)) ||
    (object.kind === "Node" && object.metadata.name === identity.name) ||
    (object.kind === "Workload" && object.spec.node === identity.name);
  if (isOwn(previous) && isOwn(next)) return;
  const { plural, group } = kinds[next.kind];
  const what = group === "" ? plural : `${plural}.${group}`;
  throw new AppError(
    "Forbidden",
    `${what} "${next.metadata.name}" is forbidden: User "system:node:${identity.name}" cannot ${operation === "status" ? "update" : operation} what belongs to another host`,
    {
      subject: { name: next.metadata.name, group, kind: plural },
      hint: "a host's credential may write its own Node and its own Workloads only; use an admin's kubeconfig",
    },
  );
}

function asService(object: AnyObject | undefined): Service | undefined {
  return object?.kind === "Service" ? object : undefined;
}
function asNode(object: AnyObject | undefined): Node | undefined {
  return object?.kind === "Node" ? object : undefined;
}
function asWorkload(object: AnyObject | undefined): Workload | undefined {
  return object?.kind === "Workload" ? object : undefined;
}
