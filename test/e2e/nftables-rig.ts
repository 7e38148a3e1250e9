import { openFlowCleaner } from "#agent/dataplane/conntrack.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { createNftablesDriver } from "#agent/dataplane/nftables/driver.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { Host } from "#test/fleet/host.ts";
import { procNetOf, type LogLine } from "./dataplane-rig.ts";

/** The real driver, in this process, whose tools run on a host of the fleet. */
export function nftablesOn(machine: Host, family: IpFamily = "IPv4"): { driver: DataplaneDriver; logged: LogLine[] } {
  const logged: LogLine[] = [];
  const at =
    (level: LogLine["level"]) =>
    (fields: object, message: string): void => {
      logged.push({ level, fields, message });
    };
  const log = { info: at("info"), warn: at("warn"), error: at("error") };
  const tools = openKernelTools({ enter: machine.enter });
  const driver = createNftablesDriver({
    family,
    tools,
    log,
    flows: openFlowCleaner({ family, tools, log }),
    // /proc/sys shows the settings of who opens it, which is this process: they have a test of their own.
    sysctls: { ensure: async () => [], restore: async () => [] },
    procNet: procNetOf(machine),
  });
  return { driver, logged };
}

/** What the kernel holds of ours but the memories of clients and the mark of the last write, or all that others have. */
export async function listed(machine: Host, which: "ours" | "foreign"): Promise<string> {
  const { stdout } = await machine.run("nft", ["-n", "list", "ruleset"]);
  const tables = stdout.split(/^(?=table )/m);
  const wanted = tables.filter((table) => /^table ip6? fairlead \{/.test(table) === (which === "ours"));
  return wanted
    .join("")
    .replaceAll(/counter packets \d+ bytes \d+/g, "counter")
    .replaceAll(/\n\t(?:set|map) (?:writes|affinity|node_affinity|priorities) \{\n(?:\t\t.*\n|\t\t\t+.*\n)*\t\}\n/g, "");
}
