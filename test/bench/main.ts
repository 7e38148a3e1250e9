/** `npm run bench -- NAME [--json] [--rounds N] [--modes A,B]`: runs one bench; with --json the last line is one object with its figures. */
import { cpus, release, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { describeError } from "#proto/error.ts";
import { rounded, type Bench } from "./bench.ts";

const benches: Record<string, () => Promise<Bench>> = {
  propagation: async () => (await import("./propagation.ts")).propagation,
  write: async () => (await import("./write.ts")).write,
  api: async () => (await import("./api.ts")).api,
  sync: async () => (await import("./sync.ts")).sync,
  connect: async () => (await import("./connect.ts")).connect,
  churn: async () => (await import("./churn.ts")).churn,
  switch: async () => (await import("./switch.ts")).switchModes,
  restart: async () => (await import("./restart.ts")).restart,
  dns: async () => (await import("./dns.ts")).dns,
  footprint: async () => (await import("./footprint.ts")).footprint,
  "sync-10k": async () => (await import("./sync-10k.ts")).sync10k,
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    rounds: { type: "string" },
    modes: { type: "string" },
    help: { type: "boolean", short: "h", default: false },
  },
});
const USAGE = `usage: npm run bench -- NAME [--json] [--rounds N] [--modes A,B]
NAME is one of: ${Object.keys(benches).join(", ")}
MODES are of: nftables, iptables_nft, iptables_legacy, ipvs (for the benches of data planes)
test/bench/README.md says what each measures, and beside what.`;
process.exitCode = values.help ? help() : await main(positionals[0]);

function help(): number {
  process.stdout.write(`${USAGE}\n`);
  return 0;
}

async function main(name: string | undefined): Promise<number> {
  const load = name === undefined ? undefined : benches[name];
  if (name === undefined || !load) {
    console.error(USAGE);
    return 2;
  }
  const bench = await load();
  console.error(`${bench.name}: ${bench.about}`);
  const alive = setInterval(() => undefined, 60_000); // programs of a fleet do not keep this process alive; waiting for one to end must
  try {
    const figures = await bench.run((text) => console.error(`  ${text}`), {
      rounds: values.rounds === undefined ? undefined : Number(values.rounds),
      modes: values.modes?.split(","),
    });
    const results = Object.fromEntries(Object.entries(figures).map(([figure, value]) => [figure, rounded(value)]));
    if (!values.json) console.table(results);
    const machine = {
      cpus: cpus().length,
      model: cpus()[0]?.model,
      memory_gib: Math.round(totalmem() / 2 ** 30),
      kernel: release(),
      node: process.version,
    };
    if (values.json) process.stdout.write(`${JSON.stringify({ bench: bench.name, results, machine })}\n`);
    return 0;
  } catch (error) {
    console.error(`error: ${describeError(error)}`);
    return 1;
  } finally {
    clearInterval(alive);
  }
}
