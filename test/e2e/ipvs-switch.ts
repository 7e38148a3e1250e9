import type { ForwardingTable } from "#agent/compile/table.ts";
import { pause } from "#proto/backoff.ts";
import type { Host, Program } from "#test/fleet/fleet.ts";
import type { Station } from "#test/fleet/stations.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { driverOn } from "./dataplane-rig.ts";
import { ipvsDriverOn, ruleNamesOn, sysctlsOn } from "./ipvs-rig.ts";

/** From IPVS to iptables and back, while connections are made all the time. For programs in User-Mode Linux. */

export interface Switching {
  readonly host: Host;
  /** Where the endpoint is. */
  readonly endpoint: Host;
  readonly onEndpoint: Station;
  readonly senders: Readonly<Record<string, Station>>;
  readonly signal: AbortSignal;
}

export interface Switched {
  /** Whose rules there were after each switch. */
  readonly rules: readonly string[];
  readonly isEnough: boolean;
  /** Connections that were lost, and to whom. */
  readonly failures: readonly string[];
  /** Connections of IPVS that did not go on for seconds after iptables had taken over, and what is known of each. */
  readonly ended: readonly string[];
}

const ROUNDS = 1;
/** So many that who is sent on by another mode, in the middle of a connection, comes to the wrong one. */
const PORTS = Array.from({ length: 8 }, (_, i) => 8081 + i);
const STREAMS = 2;
/** Four seconds and more, where nobody else is on the machine: more than what begins or ends is given. */
const TICKS = 80;
const OPEN_MS = 60_000;
const ADDRESS = "10.96.0.88";

export async function switches({ host, endpoint, onEndpoint, senders, signal }: Switching): Promise<Switched> {
  await onEndpoint.listen(PORTS.map((port) => ({ address: endpoint.ip, port, protocol: "tcp" })));
  const sysctls = sysctlsOn(host);
  const { driver: ipvs } = ipvsDriverOn(host, "IPv4", { sysctls, openMs: OPEN_MS }); // no matter how slow this machine is
  const { driver: iptables } = driverOn(host, "legacy");
  const table = tableOf(host, endpoint);
  const rules: string[] = [];
  await ipvs.sync(table, signal);
  const load = openLoad(senders, signal);
  const ended: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const streams = await Promise.all(Array.from({ length: STREAMS }, () => openStream(host)));
    await iptables.sync(table, signal);
    const cleaning = ipvs.cleanup({ dryRun: false }, signal);
    ended.push(...(await endedWithoutNat({ host, streams })));
    for (const stream of streams) await stream.kill();
    await cleaning;
    rules.push(...(await ruleNamesOn(host)));
    await ipvs.sync(table, signal);
    await iptables.cleanup({ dryRun: false }, signal);
    rules.push(...(await ruleNamesOn(host)));
  }
  const { answered, failures } = await load.stop();
  await ipvs.cleanup({ dryRun: false }, signal);
  return { rules, isEnough: answered >= 50 * ROUNDS, failures, ended };
}

async function openStream(host: Host): Promise<Program> {
  const stream = await host.spawn("perl", ["test/e2e/open-connection.pl", ADDRESS, "80"]);
  await stream.waitForLine(/:80\d\d /, { timeoutMs: 30_000 });
  return stream;
}

/** nat is the first to go; from then on nobody begins a connection by IPVS. */
async function endedWithoutNat({ host, streams }: Pick<Switching, "host"> & { readonly streams: readonly Program[] }): Promise<string[]> {
  const isGone = async (): Promise<boolean> => !(await host.run("iptables-save", ["-t", "nat"])).stdout.includes("FLV-");
  await waitFor(isGone, { what: "the nat rules of IPVS to go", timeoutMs: 60_000, intervalMs: 50 });
  const since = performance.now();
  const lines = (): Promise<string[][]> => Promise.all(streams.map(async (stream) => (await stream.output()).trim().split("\n")));
  const before = (await lines()).map(({ length }) => length);
  const isOver = async (): Promise<boolean> => (await lines()).every((now, i) => now.length > (before[i] ?? 0) + TICKS);
  await waitFor(isOver, { what: "open connections to go on", timeoutMs: OPEN_MS, intervalMs: 200 }).catch(() => undefined);
  const waitedMs = Math.round(performance.now() - since);
  return (await lines()).flatMap((now, i) => {
    const ticks = now.length - (before[i] ?? 0);
    return ticks > TICKS ? [] : [`${ticks} of ${TICKS} lines in ${waitedMs} ms, the last is: ${now.at(-1) ?? ""}`];
  });
}

function tableOf(host: Host, endpoint: Host): ForwardingTable {
  const web = aCompiled([aFrontend({ address: ADDRESS, backends: PORTS.map((port) => aBackend(endpoint.ip, port)) })]);
  return aTable([web], aHostTable({ nodeIps: [host.ip], localCidrs: ["10.200.1.0/24"] }));
}

function openLoad(senders: Switching["senders"], signal: AbortSignal): { stop(): Promise<{ answered: number; failures: string[] }> } {
  let answered = 0;
  let isStopped = false;
  const failures: string[] = [];
  const running = Object.entries(senders).map(async ([name, station]) => {
    while (!isStopped) {
      const one = await station.ask({ address: ADDRESS, port: 80, protocol: "tcp", times: 1, timeoutMs: 8_000 });
      answered += Object.keys(one.answers).length;
      failures.push(...Object.keys(one.failures).map((why) => `${name}: ${why}`));
      await pause(50, signal); // one CPU does it all
    }
  });
  return {
    async stop() {
      isStopped = true;
      await Promise.all(running);
      return { answered, failures };
    },
  };
}
