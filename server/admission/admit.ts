import type { ClusterFacts } from "#proto/agents.ts";
import { AppError } from "#proto/error.ts";
import { parseIp, type IpFamily } from "#proto/ip.ts";
import { kinds, type AnyObject, type KindName } from "#proto/kinds.ts";
import type { Node } from "#proto/node.ts";
import type { Service } from "#proto/service.ts";
import type { Workload } from "#proto/workload.ts";
import type { Store, StoredChange, StoreKey } from "../store/store.ts";
import type { Identity } from "../trust/identity.ts";
import type { Admission, AdmissionRequest, Admitted, Operation } from "./admission.ts";
import { admitSlice } from "./endpoint-slice.ts";
import { admitEvent } from "./event.ts";
import { admitNode, nodeClaims, type NodeParts } from "./node.ts";
import { createNodeNetworks } from "./node-networks.ts";
import { createPool, type Pool } from "./pool.ts";
import { virtualRanges } from "./ranges.ts";
import { admitService, serviceClaims, type ServiceParts } from "./service.ts";
import { admitWorkload } from "./workload.ts";

export interface AdmissionDeps {
  readonly store: Store;
  readonly cluster: Pick<ClusterFacts, "serviceCidrs" | "dnsIps" | "nodePortRange">;
  readonly random?: (() => number) | undefined;
}

export interface OpenAdmission extends Admission {
  /** Stops following the store. */
  close(): void;
}

export async function createAdmission({ store, cluster, random = Math.random }: AdmissionDeps): Promise<OpenAdmission> {
  const ranges = virtualRanges(cluster);
  const { from, to } = cluster.nodePortRange;
  const pools = new Map<IpFamily, Pool>();
  for (const family of ranges.families) {
    const range = ranges.of(family);
    if (range) pools.set(family, createPool({ size: range.size, reserved: range.reserved, random }));
  }
  const portPool = createPool({ size: to - from + 1, reserved: new Set(), random });
  const networks = createNodeNetworks();

  function mark(claim: string, how: "use" | "release"): void {
    const [what, ...rest] = claim.split("/");
    const ip = what === "ip" ? parseIp(rest.join("/")) : undefined;
    const index = ip && ranges.of(ip.family)?.indexOf(ip);
    if (ip && index !== undefined) pools.get(ip.family)?.[how](index);
    const port = what === "nodeport" ? Number(rest[1]) : NaN;
    if (port >= from && port <= to) portPool[how](port - from);
  }

  function follow(changes: readonly StoredChange[]): void {
    for (const { type, object, previous } of changes) {
      if (object.kind === "Node") {
        if (type === "DELETED") networks.delete(object.metadata.name);
        else networks.put(object);
      } else if (object.kind === "Service") {
        for (const claim of previous?.kind === "Service" ? serviceClaims(previous) : []) mark(claim, "release");
        for (const claim of type === "DELETED" ? [] : serviceClaims(object)) mark(claim, "use");
      }
    }
  }

  const unfollow = store.onCommit(follow);
  for (const prefix of ["ip/", "nodeport/"]) for (const claim of await store.claims(prefix)) mark(claim, "use");
  for (const node of (await store.list({ kind: "Node" })).items) if (node.kind === "Node") networks.put(node);
  await checkDnsIsFree(store, cluster);

  const isTaken = (own: StoreKey) => async (claim: string) => {
    const owner = await store.claimOwner(claim);
    return owner !== undefined && !(owner.kind === own.kind && owner.namespace === own.namespace && owner.name === own.name);
  };
  const serviceParts = (own: StoreKey): ServiceParts => ({
    addresses: { ranges, pools, isTaken: isTaken(own) },
    ports: { range: { from, to }, pool: portPool, isTaken: isTaken(own) },
    isNodeAddress: isTaken(own),
  });
  const nodeParts = (name: string): NodeParts => ({
    ranges,
    networks,
    holder: async (claim) => {
      const owner = await store.claimOwner(claim);
      return owner?.name === name ? undefined : owner?.name;
    },
  });
  const readNode = async (name: string): Promise<Node | undefined> => {
    const node = await store.get({ kind: "Node", namespace: "", name });
    return node?.kind === "Node" ? node : undefined;
  };
  const readWorkload = async (namespace: string, name: string): Promise<Workload | undefined> =>
    asWorkload(await store.get({ kind: "Workload", namespace, name }));

  async function admitAny({ operation, identity, previous, next }: AnyRequest): Promise<Admitted> {
    if (identity.kind === "node") requireOwn(identity, previous, next, operation);
    const key: StoreKey = { kind: next.kind, namespace: next.metadata.namespace ?? "", name: next.metadata.name };
    if (operation === "delete") return { object: next, claims: undefined, warnings: [] };
    switch (next.kind) {
      case "Service": {
        if (operation === "status") break;
        const { service, warnings } = await admitService(asService(previous), next, serviceParts(key));
        return { object: service, claims: serviceClaims(service), warnings };
      }
      case "Node": {
        const node = await admitNode(asNode(previous), next, nodeParts(key.name));
        return { object: node, claims: nodeClaims(node), warnings: [] };
      }
      case "Workload": {
        if (operation === "status") break;
        const parts = { ranges, node: readNode, onlyOwnAddresses: identity.kind === "node" };
        return { object: await admitWorkload(asWorkload(previous), next, parts), claims: undefined, warnings: [] };
      }
      case "EndpointSlice":
        admitSlice(previous?.kind === "EndpointSlice" ? previous : undefined, next, ranges);
        break;
      case "Event":
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
    close: unfollow,
  };
}

interface AnyRequest {
  readonly operation: Operation;
  readonly identity: Identity;
  readonly previous: AnyObject | undefined;
  readonly next: AnyObject;
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

/** A host may write its own Node and its own Workloads; the routes have left it nothing else but Events. */
function requireOwn(identity: Identity & { kind: "node" }, previous: AnyObject | undefined, next: AnyObject, operation: Operation): void {
  const isOwn = (object: AnyObject | undefined): boolean =>
    object === undefined ||
    object.kind === "Event" ||
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
