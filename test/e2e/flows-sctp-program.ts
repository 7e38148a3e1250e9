// The rows about SCTP through iptables, in a kernel that has it (test/fleet/uml.ts):  node test/e2e/flows-sctp-program.ts
// Prints what was seen as one JSON line.
import { rows } from "#test/packet/flows/table.ts";
import { driverOn } from "./dataplane-rig.ts";
import { walkFlows } from "./flow-walk.ts";
import { buildFlowWorld } from "./flow-world.ts";

const only = ({ services }: (typeof rows)[number]): boolean =>
  services.some(({ spec }) => spec?.ports?.some(({ protocol }) => protocol === "SCTP") === true);
await using world = await buildFlowWorld(rows.filter(only), "legacy", { hasSctp: true });
const drivers = { IPv4: driverOn(world.h1, "legacy", "IPv4").driver, IPv6: driverOn(world.h1, "legacy", "IPv6").driver };
const pace = { dropMs: 1_500, answerMs: 30_000, changesAtOnce: 40, drawn: 0.02, hasSctp: true };
process.stdout.write(`${JSON.stringify(await walkFlows(world, drivers, "iptables", { ...pace, only }))}\n`);
