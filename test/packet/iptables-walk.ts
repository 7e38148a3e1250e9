import type { ForwardingTable } from "#agent/compile/table.ts";
import { parseListing } from "#agent/dataplane/iptables/listing.ts";
import { planSync, rulesOf } from "#agent/dataplane/iptables/plan.ts";
import { wholeText } from "#agent/dataplane/tool-input.ts";
import type { IpFamily } from "#proto/ip.ts";
import { applyRestore, emptyRuleset } from "./iptables-model.ts";
import { trace } from "./iptables-tracer.ts";
import { oncePerTable } from "./once-per-table.ts";
import type { Outcome, Packet, Surroundings } from "./packet.ts";

const rulesetOf = oncePerTable((table, family) => {
  const rules = rulesOf(table, { family });
  const nothing = parseListing(rules.words, "");
  return applyRestore(emptyRuleset(), wholeText(planSync(rules, { nat: nothing, filter: nothing }, "1")));
});

/** What the rules that the iptables driver writes for `table` do with the first packet of a connection. */
export function walkIptables(table: ForwardingTable, family: IpFamily, packet: Packet, around: Surroundings): readonly Outcome[] {
  return trace(rulesetOf(table, family), packet, around);
}
