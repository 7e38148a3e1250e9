import { AppError } from "#proto/error.ts";
import type { CompiledService, Frontend } from "#agent/compile/table.ts";
import type { DataplaneDriver, Drift, DriverDeps, ProbeResult } from "../driver.ts";
import { frontendChanges, frontendsOf, type FrontendChange } from "../frontends.ts";
import type { IptablesKind } from "../iptables/apply.ts";
import { detectIptables, type IptablesFound } from "../iptables/detect.ts";
import { isTcpLiberal, setSysctls, type SettingsDeps } from "../settings.ts";
import { openBeside, type Beside } from "./beside.ts";
import { cleanupIpvs } from "./cleanup.ts";
import { openDevice } from "./device.ts";
import { openDrains } from "./drain.ts";
import { openEdge, programOf } from "./edge.ts";
import { openInspector, type Inspector } from "./inspect.ts";
import { arpRequirements, IPVS_REQUIREMENTS } from "./requirements.ts";
import { openSchedulers } from "./kernel-schedulers.ts";
import { Marks } from "./marks.ts";
import { openWriter, type Written } from "./writer.ts";
import { probeIpvs } from "./trials.ts";
import { raiseIdleTimeout } from "./timeouts.ts";

export interface IpvsDriverDeps extends DriverDeps {
  /** Which iptables the fixed rules are written with; undefined = the one that this host uses. */
  readonly kind?: IptablesKind | undefined;
  /** Where the kernel shows lists of xt_recent, devices and virtual servers. */
  readonly procNet?: string;
  /** How long a cleanup waits for open connections to end. */
  readonly openMs?: number;
}

export function createIpvsDriver(deps: IpvsDriverDeps): DataplaneDriver {
  const { family, tools, flows, log, procNet = "/proc/net" } = deps;
  const edge = openEdge(tools, { family, procNet });
  const device = openDevice(tools, { family, procNet });
  const drains = openDrains({ family, procNet });
  const writer = openWriter({ edge, device, family });
  const marks = new Marks();
  const schedulers = openSchedulers(deps);
  /** What the kernel holds; undefined = unknown. */
  let held: Written | undefined;
  let found: IptablesFound | undefined;
  let inspector: Inspector | undefined;
  let beside: Beside | undefined;
  let isIdleTimeSet = false;

  const iptables = async (signal: AbortSignal): Promise<IptablesFound> => {
    found ??= await detectIptables(tools, family, signal);
    if (!found)
      throw new AppError("KernelRejected", "neither iptables-nft nor iptables-legacy is installed", { hint: "apt-get install iptables" });
    return deps.kind === undefined ? found : { ...found, kind: deps.kind, why: "the configuration says so" };
  };

  return {
    name: "ipvs",
    family,

    async probe(signal): Promise<ProbeResult> {
      try {
        const using = await iptables(signal);
        if (using.warning !== undefined) log.warn({ kind: using.kind }, using.warning);
        const probed = await probeIpvs(tools, { family, iptables: using }, signal);
        if (probed.usable) schedulers.hasOwn();
        return probed;
      } catch (cause) {
        if (!(cause instanceof AppError)) throw cause;
        return { usable: false, why: cause.message, hint: cause.hint ?? "see agent/dataplane/ipvs/README.md" };
      }
    },

    async sync(table, signal) {
      held = undefined;
      const { kind } = await iptables(signal);
      const frontends = frontendsOf(table.services.values(), family);
      schedulers.forgetMissing();
      await schedulers.learn(frontends, signal); // and with that the kernel has its settings of virtual servers
      await setSysctls(settingsOf(deps, frontends, signal), table.host, signal);
      if (!isIdleTimeSet) {
        const { done, warning } = await raiseIdleTimeout(tools, { serviceCidrs: table.host.serviceCidrs, procNet }, signal);
        for (const what of done) log.info({}, what);
        if (warning !== undefined) log.warn({}, warning);
      }
      isIdleTimeSet = true;
      const isLiberal = await isTcpLiberal(deps.tools);
      const healthPorts = healthPortsOf(table.services.values());
      const options = {
        kind,
        frontends,
        healthPorts,
        marks,
        hasScheduler: schedulers.has,
        isLiberal,
      };
      const written = await writer.sync(table, options, signal);
      await flows.afterSync(table, signal);
      inspector ??= openInspector({ edge, device, family, kind, procNet });
      beside ??= openBeside({ tools, edge, family, kind, log, procNet });
      beside.hold(written.rules);
      held = written;
    },

    async update(changes, signal) {
      if (!held) throw new AppError("KernelRejected", "what the kernel holds is not known: a sync must come first");
      const now = held;
      held = undefined; // until it is known to have been applied
      const frontends = changes.flatMap((change) => frontendChanges(change, family));
      await schedulers.learn(comingOf(frontends), signal);
      if (hasNewAddress(frontends)) await setSysctls(settingsOf(deps, comingOf(frontends), signal), now.table.host, signal);
      const ports = {
        previous: healthPortsOf(changes.map(({ previous }) => previous)),
        next: healthPortsOf(changes.map(({ next }) => next)),
      };
      const written = await writer.update(now, frontends, ports);
      await flows.afterChange(frontends, signal);
      held = written;
    },

    async verify(signal): Promise<Drift> {
      if (!held || !inspector) return { intact: true };
      const missing = [...(await inspector.inspect(held, signal))];
      if (missing.length === 0) missing.push(...((await beside?.verify(signal)) ?? []));
      if (missing.length > 0) return { intact: false, missing };
      const now = held;
      const idle = await drains.due(now.state);
      if (!idle) return { intact: true };
      held = undefined; // until it is known to have been applied
      held = await writer.apply(now, idle);
      return { intact: true };
    },

    close: () => edge.close(),

    async cleanup({ dryRun }, signal) {
      held = undefined;
      beside?.drop();
      isIdleTimeSet = false;
      const kinds: IptablesKind[] = [];
      for (const kind of ["nft", "legacy"] as const) if (await tools.has(`${programOf(family)}-${kind}-restore`)) kinds.push(kind);
      const removed = await cleanupIpvs({ tools, edge, family, kinds, procNet, dryRun, openMs: deps.openMs }, signal);
      return [...removed, ...(await deps.sysctls.restore({ dryRun }))];
    },
  };
}

/** What the driver needs besides what all do. */
function settingsOf(deps: IpvsDriverDeps, frontends: readonly Frontend[], signal: AbortSignal): SettingsDeps {
  const { tools, family } = deps;
  const addresses = frontends.filter(({ scope }) => scope === "loadBalancer").map(({ address }) => address);
  return {
    ...deps,
    more: async () => [...IPVS_REQUIREMENTS, ...(family === "IPv4" ? await arpRequirements(tools, addresses, signal) : [])],
  };
}

function healthPortsOf(services: Iterable<CompiledService | undefined>): readonly number[] {
  return Array.from(services, (service) => service?.healthCheck?.port ?? []).flat();
}

function comingOf(changes: readonly FrontendChange[]): readonly Frontend[] {
  return changes.flatMap(({ next }) => next ?? []);
}

function hasNewAddress(changes: readonly FrontendChange[]): boolean {
  return changes.some(({ previous, next }) => next?.scope === "loadBalancer" && !previous);
}
