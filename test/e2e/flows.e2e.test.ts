import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { Host, IptablesKind } from "#test/fleet/host.ts";
import type { Mode } from "#test/packet/flows/flow.ts";
import { rows } from "#test/packet/flows/table.ts";
import { driverOn } from "./dataplane-rig.ts";
import { checkFlows } from "./flow-checks.ts";
import { walkFlows, type Pace } from "./flow-walk.ts";
import { buildFlowWorld } from "./flow-world.ts";
import { nftablesOn } from "./nftables-rig.ts";

/** The same flow table that test/packet walks in memory, through this machine's kernel. IPVS: ipvs.e2e.test.ts. */

const PACE: Pace = { dropMs: 400, answerMs: 5_000, changesAtOnce: 40, drawn: 1 };

interface Rig {
  readonly mode: Mode;
  /** What the machines' plain `iptables` is. */
  readonly backend: IptablesKind;
  open(machine: Host, family: IpFamily): DataplaneDriver;
}

const RIGS: Record<string, Rig> = {
  "iptables-nft": { mode: "iptables", backend: "nft", open: (machine, family) => driverOn(machine, "nft", family).driver },
  "iptables-legacy": { mode: "iptables", backend: "legacy", open: (machine, family) => driverOn(machine, "legacy", family).driver },
  nftables: { mode: "nftables", backend: "nft", open: (machine, family) => nftablesOn(machine, family).driver },
};

for (const [name, { mode, backend, open }] of Object.entries(RIGS))
  checkFlows(name, {
    mode,
    timeoutMs: 240_000,
    async walk() {
      await using world = await buildFlowWorld(rows, backend);
      return await walkFlows(world, { IPv4: open(world.h1, "IPv4"), IPv6: open(world.h1, "IPv6") }, mode, PACE);
    },
  });
