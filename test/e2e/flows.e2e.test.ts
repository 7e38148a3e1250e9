import { openFlowCleaner } from "#agent/dataplane/conntrack.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { createIptablesDriver } from "#agent/dataplane/iptables/driver.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { Host, IptablesKind } from "#test/fleet/host.ts";
import { rows } from "#test/packet/flows/table.ts";
import { checkFlows } from "./flow-checks.ts";
import { walkFlows, type Pace } from "./flow-walk.ts";
import { buildFlowWorld } from "./flow-world.ts";

/** The same flow table that test/packet walks in memory, through this machine's kernel. IPVS: flows-ipvs.e2e.test.ts. */

const PACE: Pace = { dropMs: 400, answerMs: 5_000, drawn: 1 };

for (const kind of ["nft", "legacy"] as const)
  checkFlows(`iptables-${kind}`, {
    mode: "iptables",
    timeoutMs: 180_000,
    async walk() {
      await using world = await buildFlowWorld(rows, kind);
      const open = (family: IpFamily): DataplaneDriver => iptablesOn(world.h1, kind, family);
      return await walkFlows(world, { IPv4: open("IPv4"), IPv6: open("IPv6") }, "iptables", PACE);
    },
  });

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
function iptablesOn(machine: Host, kind: IptablesKind, family: IpFamily): DataplaneDriver {
  const tools = openKernelTools({ enter: machine.enter });
  const pid = machine.enter.map((word) => /^--target=(\d+)$/.exec(word)?.[1]).find((found) => found !== undefined);
  return createIptablesDriver({
    tools,
    log: silent,
    family,
    kind,
    flows: openFlowCleaner({ family, tools, log: silent }),
    sysctls: { ensure: async () => [], restore: async () => [] },
    procNet: `/proc/${pid ?? "self"}/net`,
  });
}
