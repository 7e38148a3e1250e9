import { internalIpsOf } from "#proto/node.ts";
import type { ObjectKey } from "#proto/meta.ts";
import type { ClusterState, Touched } from "#agent/sync/state.ts";

/**
 * Whose address is a node's. Objects are held packed, and anybody may ask in vain: so nodes are read once, when somebody asks for the first time, and then
 * only as they change.
 */
export class NodeAddresses {
  readonly #nodes: ClusterState["nodes"];
  readonly #holders = new Map<string, Set<ObjectKey>>();
  readonly #byNode = new Map<ObjectKey, readonly string[]>();
  #isRead = false;

  constructor({ nodes }: Pick<ClusterState, "nodes">) {
    this.#nodes = nodes;
  }

  has(address: string): boolean {
    if (!this.#isRead) this.#readAll();
    return this.#holders.has(address);
  }

  touched({ all, nodes }: Pick<Touched, "all" | "nodes">): void {
    if (all) this.#isRead = false;
    else if (this.#isRead) for (const key of nodes) this.#read(key);
  }

  #readAll(): void {
    this.#holders.clear();
    this.#byNode.clear();
    for (const key of this.#nodes.keys()) this.#read(key);
    this.#isRead = true;
  }

  #read(key: ObjectKey): void {
    for (const address of this.#byNode.get(key) ?? []) {
      const holders = this.#holders.get(address);
      holders?.delete(key);
      if (holders?.size === 0) this.#holders.delete(address);
    }
    const node = this.#nodes.get(key);
    if (!node) {
      this.#byNode.delete(key);
      return;
    }
    const addresses = internalIpsOf(node);
    this.#byNode.set(key, addresses);
    for (const address of addresses) this.#holders.set(address, (this.#holders.get(address) ?? new Set()).add(key));
  }
}
