// What a connection costs through a virtual IP and beside it, on hosts with few and many services, all in turns:
//   node test/bench/connect-program.ts --mode iptables_nft --rounds 100
// Prints { "direct_us", "first_of_N_us", "last_of_N_us" … }
import { parseArgs } from "node:util";
import { median, medianRatio } from "./bench.ts";
import type { Connected, Target } from "./connector.ts";
import { bareTranslation, modesOf, type Mode } from "./modes.ts";
import { openSandbox, type Sandbox } from "./sandbox.ts";
import { HOST_IP, virtualIp } from "./ten-thousand.ts";

const { values } = parseArgs({
  options: {
    mode: { type: "string", default: "" },
    rounds: { type: "string", default: "100" },
    sizes: { type: "string", default: "1,1000,10000" },
  },
});
const [mode] = modesOf([values.mode]);
if (!mode) throw new Error("which --mode?");
const SIZES = values.sizes.split(",").map(Number);
const PER_ROUND = 200;
/** Each has a port of its own: conntrack would have to find another source port where two connections end in the same place. */
const PORTS = { direct: 8080, first: 8081, last: 8082 };
/** Before it is measured: caches, and the tool that listens. */
const WARM_UP_ROUNDS = 3;

const direct: Target = { address: HOST_IP, port: PORTS.direct, serverAddress: HOST_IP, serverPort: PORTS.direct };
const through = (index: number, serverPort: number): Target => ({
  address: virtualIp(index),
  port: 80,
  serverAddress: HOST_IP,
  serverPort,
});

interface Place {
  readonly name: string;
  readonly sandbox: Sandbox;
  readonly target: Target;
}

await using stack = new AsyncDisposableStack();
const places: Place[] = [];
const plain = stack.use(await openSandbox());
places.push({ name: "no_rules", sandbox: plain, target: direct });
const empty = stack.use(await openSandbox());
await empty.ask({ op: "emptyHook", mode });
places.push({ name: "empty_hook", sandbox: empty, target: direct });
const bare = stack.use(await openSandbox());
await bare.ask({ op: "emptyHook", mode });
await bare.ask({ op: "bare", told: bareTranslation(mode, [`${virtualIp(0)}:80`, `${HOST_IP}:${PORTS.last}`]) });
places.push({ name: "bare_direct", sandbox: bare, target: direct }, { name: "bare", sandbox: bare, target: through(0, PORTS.last) });
for (const size of SIZES) places.push(...(await hostWith(mode, size, stack)));

const rounds = new Map<string, Connected[]>(places.map(({ name }) => [name, []]));
for (let round = -WARM_UP_ROUNDS; round < Number(values.rounds); round++) {
  // Another begins each time, so that nobody always follows the same one.
  for (let i = 0; i < places.length; i++) {
    const place = places[(i + Math.max(round, 0)) % places.length];
    if (!place) continue;
    const { results } = await place.sandbox.ask({ op: "connect", targets: [place.target], count: PER_ROUND });
    if (round >= 0) rounds.get(place.name)?.push(...results);
  }
}
process.stdout.write(`${JSON.stringify(figuresOf())}\n`);

async function hostWith(kind: Mode, services: number, keep: AsyncDisposableStack): Promise<Place[]> {
  const sandbox = keep.use(await openSandbox());
  const last = services - 1;
  const backends: [number, number[]][] =
    services === 1
      ? [[0, [PORTS.last]]]
      : [
          [0, [PORTS.first]],
          [last, [PORTS.last]],
        ];
  await sandbox.ask({ op: "sync", mode: kind, services, backends, silent: true });
  const places: Place[] = [
    { name: `direct_of_${services}`, sandbox, target: direct },
    { name: `last_of_${services}`, sandbox, target: through(last, PORTS.last) },
  ];
  if (services > 1) places.push({ name: `first_of_${services}`, sandbox, target: through(0, PORTS.first) });
  return places;
}

function figuresOf(): Record<string, number> {
  const figures: Record<string, number> = {};
  const p50s = (name: string): number[] => (rounds.get(name) ?? []).map(({ p50 }) => p50);
  for (const [name, measured] of rounds) {
    figures[`${name}_p50_us`] = median(p50s(name));
    figures[`${name}_p99_us`] = median(measured.map(({ p99 }) => p99));
    figures[`${name}_per_s`] = 1e6 / median(measured.map(({ mean }) => mean));
  }
  for (const size of SIZES)
    for (const position of size > 1 ? ["first", "last"] : ["last"])
      figures[`${position}_of_${size}_ratio`] = medianRatio(p50s(`${position}_of_${size}`), p50s(`direct_of_${size}`));
  figures["bare_ratio"] = medianRatio(p50s("bare"), p50s("bare_direct"));
  figures["bare_other_traffic_ratio"] = medianRatio(p50s("bare_direct"), p50s("empty_hook"));
  figures["other_traffic_ratio"] = medianRatio(p50s(`direct_of_${Math.max(...SIZES)}`), p50s("empty_hook"));
  return figures;
}
