import type { ForwardingTable } from "#agent/compile/table.ts";
import { parseListing } from "#agent/dataplane/iptables/listing.ts";
import { planSync, ruleTreesOf } from "#agent/dataplane/iptables/plan.ts";
import type { IpFamily } from "#proto/ip.ts";
import { applyRestore, emptyRuleset } from "./iptables-model.ts";
import { trace } from "./iptables-tracer.ts";
import type { Outcome, Packet, Surroundings } from "./packet.ts";

/** What the rules that the iptables driver writes for `table` do with the first packet of a connection. */
export function walkIptables(table: ForwardingTable, family: IpFamily, packet: Packet, around: Surroundings): readonly Outcome[] {
  if (family === "IPv6") throw new Error("the iptables driver does not program IPv6 yet");
  const nothing = parseListing("");
  const ruleset = applyRestore(emptyRuleset(), planSync(ruleTreesOf(table, "1"), { nat: nothing, filter: nothing }));
  return trace(ruleset, packet, around);
}
