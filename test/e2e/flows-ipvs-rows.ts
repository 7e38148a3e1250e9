// Some rows of the flow table through IPVS, in a minute:  node test/e2e/flows-ipvs-rows.ts "ClientIP affinity" "external IP"
// Prints each row's faults; ends with 1 when there are any, or no row has such a name.
import { runInUml } from "#test/fleet/uml.ts";
import { rows } from "#test/packet/flows/table.ts";
import { faultsSeen, type Walked } from "./flow-walk.ts";

const args = ["test/e2e/flows-ipvs-program.ts", ...process.argv.slice(2)];
const { stdout, stderr, exitCode } = await runInUml({ command: process.execPath, args, memory: "1500M", timeoutMs: 600_000 });
if (exitCode !== 0) throw new Error(`the walk ended with ${exitCode}: ${stderr.slice(-4_000)}`);

const walked = JSON.parse(stdout) as Walked[];
process.exitCode = walked.length > 0 ? 0 : 1;
for (const { row: index, family, seen } of walked) {
  const row = rows.find((one) => one.index === index);
  const faults = row ? faultsSeen(row, "ipvs", family, seen) : ["there is no such row"];
  if (faults.length > 0) process.exitCode = 1;
  process.stdout.write(
    `${faults.length === 0 ? "ok   " : "WRONG"} ${family}: ${row?.name ?? ""}\n${faults.map((one) => `        ${one}\n`).join("")}`,
  );
}
