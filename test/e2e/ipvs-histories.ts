import type { IpFamily } from "#proto/ip.ts";
import type { Host } from "#test/fleet/host.ts";
import { aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { ipvsDriverOn } from "./ipvs-rig.ts";
import { aRandomHistory } from "./random-services.ts";

/** Random changes, and what the kernel lists in the end: as one sync of the last table writes it. For programs in User-Mode Linux. */

export interface History {
  readonly services: number;
  /** Lines that are there after the changes and not after one sync on another host, or the other way round. */
  readonly differences: readonly string[];
}

const host = aHostTable({
  serviceCidrs: ["10.96.0.0/16", "fd10::/112"],
  nodeIps: ["172.30.0.1", "fd30::1"],
  localCidrs: ["10.200.1.0/24", "fd30:c:1::/64"],
});

export async function historyOf(
  family: IpFamily,
  { changed, synced, signal }: { readonly changed: Host; readonly synced: Host; readonly signal: AbortSignal },
): Promise<History> {
  const others = family === "IPv4" ? "-t 192.0.2.200:80" : "-t [2001:db8::200]:80";
  for (const one of [changed, synced]) await one.run("ipvsadm", ["-A", ...others.split(" "), "-s", "wlc"]);
  const { driver } = ipvsDriverOn(changed, family, { sysctls: NO_SYSCTLS });
  const { batches, services } = aRandomHistory(family, { seed: 20_261_128, places: 20, changes: 40 });
  await driver.sync(aTable([], host), signal);
  for (const changes of batches) await driver.update(changes, signal);
  const isDrained = async (): Promise<boolean> => {
    await driver.verify(signal);
    return !(await changed.run("ipvsadm", ["-Sn"])).stdout.includes(" -w 0");
  };
  await waitFor(isDrained, { what: "endpoints that nobody asks to go", timeoutMs: 60_000, intervalMs: 500 });

  const { driver: fresh } = ipvsDriverOn(synced, family, { sysctls: NO_SYSCTLS });
  await fresh.sync(aTable([...services.values()], host), signal);
  const [found, wanted] = [await meaningOn(changed), await meaningOn(synced)];
  const differences = [
    ...found.filter((line) => !wanted.includes(line)).map((line) => `too much: ${line}`),
    ...wanted.filter((line) => !found.includes(line)).map((line) => `missing: ${line}`),
    ...(found.length === wanted.length ? [] : [`${found.length} lines instead of ${wanted.length}`]),
  ];
  return { services: services.size, differences };
}

const NO_SYSCTLS = { ensure: async () => [], restore: async () => [] };

/** Virtual servers, entries of sets and routes, in no order. A mark is whatever the driver took: in its place stands the virtual server that it leads to. */
async function meaningOn(machine: Host): Promise<readonly string[]> {
  const listed = async (file: string, ...args: string[]): Promise<string[]> => (await machine.run(file, args)).stdout.trim().split("\n");
  const byMark = new Map<number, string[]>();
  const lines: string[] = [];
  for (const line of await listed("ipvsadm", "-Sn")) {
    const [, verb, mark, rest] = /^(-[Aa]) -f (\d+)( .*)$/.exec(line.trim()) ?? [];
    if (mark === undefined) lines.push(line.trim());
    else byMark.set(Number(mark), [...(byMark.get(Number(mark)) ?? []), `${verb}${rest}`].toSorted());
  }
  for (const line of await listed("ipset", "save")) {
    const [, entry, mark] = /^(add .*) skbmark (0x[0-9a-f]+)/.exec(line) ?? [];
    const name = /^create (\S+ \S+)/.exec(line)?.[1];
    lines.push(mark === undefined ? (name ?? line) : `${entry} -> ${byMark.get(Number(mark))?.join(", ") ?? mark}`);
  }
  lines.push(`${byMark.size} virtual servers with a mark`);
  for (const option of ["-4", "-6"])
    for (const line of await listed("ip", option, "route", "show", "table", "local", "dev", "fairlead0"))
      lines.push(line.split(" ").slice(0, 2).join(" "));
  return lines.filter((line) => !/^local (fe80|ff)|^multicast/.test(line)).toSorted();
}
