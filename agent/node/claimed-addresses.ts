import type { CompiledService } from "#agent/compile/table.ts";
import { UseCount } from "#agent/dataplane/frontends.ts";
import type { TableSink } from "#agent/dataplane/mailbox.ts";
import { followServices } from "#agent/follow-services.ts";

/**
 * Addresses from outside the service ranges that Services ask for (load balancer and external ones), served here or refused. Where one of them turns up
 * on an interface, it has come to the Service, by keepalived say, and does not become the node's own: unless the node had it before.
 */
export interface ClaimedAddresses extends TableSink {
  has(address: string): boolean;
}

export function createClaimedAddresses(): ClaimedAddresses {
  const uses = new UseCount();
  const sink = followServices<readonly string[]>({
    of: addressesOf,
    onChange(_key, now = [], before = []) {
      for (const address of now) uses.add(address);
      for (const address of before) uses.remove(address);
      uses.take(); // nobody asks what came and went
    },
  });
  return { put: (update) => sink.put(update), has: (address) => uses.has(address) };
}

function addressesOf({ frontends, refused }: CompiledService): readonly string[] | undefined {
  const asked = frontends.filter(({ scope }) => scope === "loadBalancer" || scope === "external").map(({ address }) => address);
  const all = new Set([...asked, ...refused.map(({ address }) => address)]);
  return all.size === 0 ? undefined : [...all];
}
