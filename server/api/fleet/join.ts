import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import type { ClusterFacts, JoinReply, JoinRequest } from "#proto/agents.ts";
import { AppError, isAppError } from "#proto/error.ts";
import { internalIpsOf, type Node } from "#proto/node.ts";
import { parseObject } from "#proto/parse.ts";
import type { Admission } from "#server/admission/admission.ts";
import type { Leases } from "#server/controllers/node-lease.ts";
import type { Store } from "#server/store/store.ts";
import { SERVER_ITSELF } from "#server/trust/identity.ts";
import type { Trust } from "#server/trust/trust.ts";
import { timestamp } from "../draft.ts";

export interface JoinDeps {
  readonly store: Store;
  readonly trust: Trust;
  readonly admission: Admission;
  readonly controllers: { readonly leases: Pick<Leases, "of"> };
  readonly cluster: ClusterFacts;
  readonly log: Pick<Logger, "info">;
}

const MAX_ATTEMPTS = 8;
/** Takes hosts into the fleet, one at a time: two that claim one name, or overlapping prefixes, must not pass each other. */
export function createJoin(deps: JoinDeps): (request: JoinRequest, tokenId: string) => Promise<JoinReply> {
  let last: Promise<unknown> = Promise.resolve();
  return (request, tokenId) => {
    const mine = last.then(() => join(deps, request, tokenId));
    last = mine.catch(() => undefined); // told to its own caller
    return mine;
  };
}

async function join(deps: JoinDeps, request: JoinRequest, tokenId: string): Promise<JoinReply> {
  const { store, trust, admission, cluster, log } = deps;
  const { name, machineId } = request;
  await refuseAnother(deps, request);
  await trust.joinTokens.consume(tokenId);
  try {
    await putNode(store, admission, request);
    const replaced = trust.nodes.isHeld(name);
    const token = await trust.nodes.issue(name, machineId);
    log.info({ node: name, tokenId, replaced }, "host joined");
    return { node: name, token, replaced, cluster };
  } catch (error) {
    await trust.joinTokens.giveBack(tokenId);
    throw error;
  }
}

/**
 * Cloned machines have one machine-id, so that alone does not tell hosts apart: one that is alive has at least one address in common with itself.
 * Throws Conflict.
 */
async function refuseAnother({ store, trust, controllers, cluster }: JoinDeps, { name, machineId, addresses }: JoinRequest): Promise<void> {
  const subject = { name, kind: "nodes" };
  if (trust.nodes.isHeldByAnother(name, machineId))
    throw new AppError("Conflict", `the name ${name} is held by another host`, {
      subject,
      hint: `give this host another name (--name), or, if it replaces the other one, delete that first: fairlead delete node ${name}`,
    });
  const lease = controllers.leases.of(name);
  const heardLately = lease?.lastHeardMs !== undefined && lease.lastHeardMs < cluster.nodeTimeoutMs;
  if (!lease?.ready && !heardLately) return;
  const node = await store.get({ kind: "Node", namespace: "", name });
  if (node?.kind !== "Node") return;
  const known = internalIpsOf(node);
  const own = addresses.filter(({ type }) => type === "InternalIP").map(({ address }) => address);
  if (known.length === 0 || own.some((address) => known.includes(address))) return;
  throw new AppError("Conflict", `the host ${name} is alive at ${known.join(", ")}, and this one is at ${own.join(", ")}`, {
    subject,
    hint:
      `give this host another name (--name); if it replaces the other one, delete that first (fairlead delete node ${name}); ` +
      `if it is the same one with another address, stop its agent for ${Math.ceil(cluster.nodeTimeoutMs / 1000)} s and join then`,
  });
}

async function putNode(store: Store, admission: Admission, request: JoinRequest): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const found = await store.get({ kind: "Node", namespace: "", name: request.name });
    const previous = found?.kind === "Node" ? found : undefined;
    const next = nodeOf(previous, request);
    const operation = previous ? "update" : "create";
    // The join token has said that the host may; what it says about itself is checked like an administrator's words.
    const { object, claims } = await admission.admit({ kind: "Node", operation, identity: SERVER_ITSELF, previous, next });
    try {
      const expect = previous ? Number(previous.metadata.resourceVersion) : "create";
      await store.transact([{ op: "put", object, expect, claims }]);
      return;
    } catch (error) {
      const raced = isAppError(error, "Conflict") || isAppError(error, "AlreadyExists") || isAppError(error, "NotFound");
      if (!raced || attempt >= MAX_ATTEMPTS) throw error;
    }
  }
}

/** A host that joins again keeps what others have written into its Node. Throws Invalid. */
function nodeOf(previous: Node | undefined, { name, addresses, podCIDRs, labels }: JoinRequest): Node {
  const metadata = previous?.metadata ?? { name, uid: randomUUID(), creationTimestamp: timestamp(Date.now()) };
  return parseObject("Node", {
    ...previous,
    apiVersion: "v1",
    kind: "Node",
    metadata: { ...metadata, labels: { ...metadata.labels, ...labels } },
    spec: { ...previous?.spec, ...(podCIDRs.length > 0 && { podCIDRs }) },
    status: { ...previous?.status, addresses },
  });
}
