import type { AppliedTracker } from "./sync/applied.ts";
import type { ClusterState, Touched } from "./sync/state.ts";
import type { TableMailbox } from "./dataplane/mailbox.ts";
import type { DnsResponder } from "./dns/responder.ts";
import { compileChanges, compileTable, type NodeContext } from "./compile/compile.ts";
import { compileDnsChanges, compileDnsDomain } from "./compile/dns-view.ts";
import type { CompiledService, ServiceKey } from "./compile/table.ts";

export interface FollowDeps {
  readonly state: ClusterState;
  readonly node: () => NodeContext;
  readonly mailbox: Pick<TableMailbox, "put">;
  readonly dns: Pick<DnsResponder, "apply">;
  readonly applied: Pick<AppliedTracker, "want">;
}

export interface Follower {
  /** From a change of the state to what kernel and DNS must be; at once, and as much work as the change is. */
  follow(touched: Touched): void;
  /** The same from scratch: this host's own addresses are others now, or the data plane begins anew. */
  recompile(): void;
}

export function createFollower({ state, node, mailbox, dns, applied }: FollowDeps): Follower {
  const compiled = new Map<ServiceKey, CompiledService>();

  function putTable(): void {
    if (state.cluster === undefined) return; // nothing heard yet: what an earlier agent left in the kernel stays
    const table = compileTable(state, node());
    compiled.clear();
    for (const [key, service] of table.services) compiled.set(key, service);
    mailbox.put({ revision: state.revision, table, changes: [] });
  }

  return {
    follow(touched) {
      applied.want(touched.revision);
      const domain = touched.all && state.cluster ? [compileDnsDomain(state.cluster)] : [];
      const names = [...domain, ...compileDnsChanges(state, touched)];
      // Names first: who asks now connects when the kernel has followed, a few milliseconds later.
      dns.apply(names, { revision: touched.revision, synced: true, all: touched.all });
      if (touched.all) {
        putTable();
        return;
      }
      const changes = compileChanges(compiled, state, touched, node());
      for (const { key, next } of changes) {
        if (next) compiled.set(key, next);
        else compiled.delete(key);
      }
      mailbox.put({ revision: touched.revision, changes });
    },
    recompile: putTable,
  };
}
