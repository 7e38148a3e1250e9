import type { IpFamily } from "#proto/ip.ts";
import type { AppliedTracker } from "./sync/applied.ts";
import type { ClusterState, Touched } from "./sync/state.ts";
import type { TableMailbox } from "./dataplane/mailbox.ts";
import type { DnsMembers } from "./dns/members.ts";
import { compileChanges, compileTable, forwardedFamilies, type NodeContext } from "./compile/compile.ts";
import { compileDnsChanges, everyDnsChange } from "./compile/dns-view.ts";
import { createServiceNotes, type ServiceNotes } from "./compile/service-notes.ts";
import type { CompiledService, ServiceKey } from "./compile/table.ts";

export interface FollowDeps {
  readonly state: ClusterState;
  /** Asked at each change: must cost next to nothing. */
  readonly node: () => NodeContext;
  readonly mailbox: Pick<TableMailbox, "put">;
  readonly dns: Pick<DnsMembers, "apply">;
  readonly applied: Pick<AppliedTracker, "want">;
}

export interface Follower {
  /** From a change of the state to what kernel and DNS must be; at once, and as much work as the change is. */
  follow(touched: Touched): void;
  /** The same from scratch: this host's own addresses are others now, or the data plane begins anew. */
  recompile(): void;
  /** Always the current state. */
  readonly notes: ServiceNotes;
}

export function createFollower({ state, node, mailbox, dns, applied }: FollowDeps): Follower {
  const compiled = new Map<ServiceKey, CompiledService>();
  const keeper = createServiceNotes();
  let compiledZone: string | undefined;
  let forwards: readonly IpFamily[] = [];

  function putTable(): void {
    if (state.cluster === undefined) return; // nothing heard yet: what an earlier agent left in the kernel stays
    const context = node();
    const table = compileTable(state, context);
    compiledZone = context.zone;
    forwards = table.host.forwards;
    compiled.clear();
    for (const [key, service] of table.services) compiled.set(key, service);
    keeper.replace(table.services);
    mailbox.put({ revision: state.revision, table, changes: [] });
  }

  function putChanges(touched: Touched, context: NodeContext): void {
    const changes = compileChanges(compiled, state, touched, context);
    const forwarded = forwardedFamilies(changes.flatMap(({ next }) => next ?? []));
    // The first Service that is reached from elsewhere: what holds for the host as a whole is different now.
    if (forwarded.some((family) => !forwards.includes(family))) {
      putTable();
      return;
    }
    for (const { key, next } of changes) {
      if (next) compiled.set(key, next);
      else compiled.delete(key);
    }
    keeper.follow(changes);
    mailbox.put({ revision: touched.revision, changes });
  }

  return {
    notes: keeper.notes,
    follow(touched) {
      applied.want(touched.revision);
      const context = node();
      // The server tells a host's zone by its Node, and which endpoints of any Service are near follows from it.
      const isElsewhere = touched.nodes.has(context.name) && context.zone !== compiledZone;
      const all = touched.all || isElsewhere;
      const names = all ? everyDnsChange(state, context.zone) : compileDnsChanges(state, touched, context.zone);
      // Names first: who asks now connects when the kernel has followed, a few milliseconds later.
      dns.apply(names, { revision: touched.revision, synced: true, all });
      if (all) putTable();
      else putChanges(touched, context);
    },
    recompile: putTable,
  };
}
