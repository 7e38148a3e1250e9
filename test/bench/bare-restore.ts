// The yardstick of sync-10k, run inside a host:  node test/bench/bare-restore.ts --file F --repeat N
// Gives the text to iptables-restore N times, with nothing of ours around it. Prints { "ms": [each] }.
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { execa } from "execa";

const { values } = parseArgs({ options: { file: { type: "string", default: "" }, repeat: { type: "string", default: "1" } } });
const input = await readFile(values.file, "utf8");
const ms: number[] = [];
for (let i = 0; i < Number(values.repeat); i++) {
  const start = performance.now();
  await execa("iptables-restore", ["--noflush", "-w"], { input });
  ms.push(performance.now() - start);
}
process.stdout.write(`${JSON.stringify({ ms })}\n`);
