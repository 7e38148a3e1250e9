import type { ForwardingTable } from "#agent/compile/table.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { Host } from "#test/fleet/host.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";

/** A write ends at any moment, its tool with it, as where an agent is killed: the next agent brings all to what it shall be. For programs in User-Mode Linux. */

export interface Cut {
  readonly host: Host;
  /** One that knows nothing, as after a start. */
  open(): DataplaneDriver;
  readonly signal: AbortSignal;
}

export interface Cuts {
  /** Writes that did not come to their end. */
  readonly cut: number;
  /** What differed from a kernel in which nothing was ever cut. */
  readonly differences: readonly string[];
}

const SERVICES = 20;
const ROUNDS = 3;
const LOOKS: readonly (readonly [string, ...string[]])[] = [["ipvsadm", "-Sn"], ["ipset", "save"], ["iptables-save"], ["ip", "-o", "addr"]];

export async function cuts({ host, open, signal }: Cut): Promise<Cuts> {
  const [before, other] = [tableOf(host, 8081), tableOf(host, 8082)];
  const bring = async (table: ForwardingTable): Promise<ReadonlyMap<string, string>> => {
    const driver = open();
    await driver.sync(table, signal);
    const isDrained = async (): Promise<boolean> => {
      await driver.verify(signal);
      return !(await host.run("ipvsadm", ["-Sn"])).stdout.includes(" -w 0");
    };
    await waitFor(isDrained, { what: "endpoints that nobody asks to go", timeoutMs: 60_000, intervalMs: 500 });
    return stateOf(host);
  };
  await bring(other);
  const wanted = await bring(before);
  const startedAt = performance.now();
  await open().sync(other, signal);
  const wholeMs = performance.now() - startedAt;
  let cut = 0;
  const differences = differing(wanted, await bring(before), "nothing was cut");
  for (let round = 1; round <= ROUNDS; round++) {
    const afterMs = Math.round((wholeMs * round) / (ROUNDS + 1));
    await open()
      .sync(other, AbortSignal.timeout(afterMs))
      .catch(() => cut++);
    differences.push(...differing(wanted, await bring(before), `cut after ${afterMs} of ${Math.round(wholeMs)} ms`));
  }
  return { cut, differences };
}

/** Other services, other ports, other weights, in part. */
function tableOf({ ip }: Host, port: number): ForwardingTable {
  const compiled = Array.from({ length: SERVICES }, (_, i) => {
    const backends = [aBackend(ip, port), { ...aBackend(ip, 8083), weight: i % 3 === 0 ? port - 8080 : 1 }];
    const address = `10.96.${i % 4 === 0 ? port - 8000 : 9}.${i + 1}`;
    return aCompiled([aFrontend({ id: `default/cut-${i}`, address, backends })], `default/cut-${i}`);
  });
  return aTable(compiled, aHostTable({ nodeIps: [ip] }));
}

async function stateOf(host: Host): Promise<ReadonlyMap<string, string>> {
  const state = new Map<string, string>();
  for (const [file, ...args] of LOOKS) {
    const { stdout } = await host.run(file, args);
    const lines = stdout.split("\n").filter((line) => !line.startsWith("#") && !/CANARY/.test(line));
    state.set(
      [file, ...args].join(" "),
      lines
        .map((line) => line.replace(/ \[\d+:\d+\]$/, ""))
        .toSorted()
        .join("\n"),
    ); // the kernel has no order
  }
  return state;
}

function differing(wanted: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>, when: string): string[] {
  return [...wanted]
    .filter(([look, text]) => found.get(look) !== text)
    .map(([look, text]) => `${when}: ${look}: ${found.get(look) ?? ""} instead of ${text}`);
}
