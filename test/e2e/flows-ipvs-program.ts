// The flow table through IPVS, in a kernel of its own (test/fleet/uml.ts):  node test/e2e/flows-ipvs-program.ts
// Prints what was seen as one JSON line. Words after it: only rows whose names contain one of them (flows-ipvs-rows.ts shows them).
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { IpFamily } from "#proto/ip.ts";
import { rows } from "#test/packet/flows/table.ts";
import { walkFlows, type Pace } from "./flow-walk.ts";
import { buildFlowWorld } from "./flow-world.ts";
import { ipvsDriverOn } from "./ipvs-rig.ts";

// Everything takes ten times as long in there, and what IPVS chooses is no draw. IPVS takes an answer for the one of the connection that it has sent to the
// same endpoint from the same port of the client, for ten seconds and more after its end: here nearly all rows have the same few endpoints.
const PACE: Pace = { dropMs: 1_500, answerMs: 30_000, changesAtOnce: 150, drawn: 0.02, freshPorts: true, hasSctp: true };

const words = process.argv.slice(2);
const only = ({ name }: { readonly name: string }): boolean => words.length === 0 || words.some((word) => name.includes(word));
await using world = await buildFlowWorld(rows.filter(only), "legacy", { hasSctp: true });
const open = (family: IpFamily): DataplaneDriver => ipvsDriverOn(world.h1, family).driver;
const walked = await walkFlows(world, { IPv4: open("IPv4"), IPv6: open("IPv6") }, "ipvs", { ...PACE, only });
process.stdout.write(`${JSON.stringify(walked)}\n`);
