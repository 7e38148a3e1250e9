import { AppError } from "#proto/error.ts";
import type { CompiledService, Frontend } from "#agent/compile/table.ts";
import type { DataplaneDriver, Drift, DriverDeps, ProbeResult } from "../driver.ts";
import { frontendChanges, frontendsOf, type FrontendChange } from "../frontends.ts";
import type { IptablesKind } from "../iptables/apply.ts";
import { detectIptables, type IptablesFound } from "../iptables/detect.ts";
import { isTcpLiberal, setSysctls, type SettingsDeps } from "../settings.ts";
import { cleanupIpvs } from "./cleanup.ts";
import { openDevice } from "./device.ts";
import { openDrains } from "./drain.ts";
import { openEdge, programOf } from "./edge.ts";
import { openInspector, type Inspector } from "./inspect.ts";
import { hasHashedAffinity } from "./legs.ts";
import { arpRequirements, IPVS_REQUIREMENTS } from "./requirements.ts";
import { HASHES, isScheduler } from "./schedulers.ts";
import { Marks } from "./state.ts";
import { openWriter, type Written } from "./writer.ts";
import { probeIpvs, tryScheduler } from "./trials.ts";
import { raiseIdleTimeout } from "./timeouts.ts";

export interface IpvsDriverDeps extends DriverDeps {
  /** Which iptables the fixed rules are written with; undefined = the one that this host uses. */
  readonly kind?: IptablesKind | undefined;
  /** Addresses in the ranges of virtual IPs that are the host's own (the agent's DNS): what comes for them is let through. */
  readonly hostAddresses?: readonly string[];
  /** Where the kernel shows lists of xt_recent, devices and virtual servers. */
  readonly procNet?: string;
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
      const isLiberal = await isTcpLiberal(deps.tools, signal);
      const healthPorts = healthPortsOf(table.services.values());
      const options = {
        kind,
        frontends,
        healthPorts,
        marks,
        hasScheduler: schedulers.has,
        hostAddresses: deps.hostAddresses ?? [],
        isLiberal,
      };
      const written = await writer.sync(table, options, signal);
      await flows.afterSync(frontends, signal);
      inspector ??= openInspector({ edge, device, family, kind, procNet });
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
      const missing = await inspector.inspect(held, signal);
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
      isIdleTimeSet = false;
      const kinds: IptablesKind[] = [];
      for (const kind of ["nft", "legacy"] as const) if (await tools.has(`${programOf(family)}-${kind}-restore`)) kinds.push(kind);
      const removed = await cleanupIpvs({ tools, edge, family, kinds, procNet, dryRun }, signal);
      return [...removed, ...(await deps.sysctls.restore({ dryRun }))];
    },
  };
}

interface Schedulers {
  /** The probe has found the two that the driver chooses by itself. */
  hasOwn(): void;
  /** Asks the kernel for each that it was not asked for. */
  learn(frontends: readonly Frontend[], signal: AbortSignal): Promise<void>;
  readonly has: (name: string) => boolean;
  /** A module may have been installed since. */
  forgetMissing(): void;
}

const OWN = ["rr", "wrr"];

function openSchedulers({ tools, family, log }: IpvsDriverDeps): Schedulers {
  const known = new Map<string, boolean>();
  const told = new Set<string>();
  const tell = (id: string, problem: string): void => {
    if (told.size > 1000 || told.has(problem)) return;
    told.add(problem);
    log.warn({ service: id }, problem);
  };
  return {
    hasOwn: () => OWN.forEach((name) => known.set(name, true)),
    has: (name) => known.get(name) ?? false,
    forgetMissing: () => {
      for (const [name, isThere] of known) if (!isThere) known.delete(name);
    },
    async learn(frontends, signal) {
      const asked = new Map(frontends.flatMap(({ scheduler, id }) => (scheduler === undefined ? [] : [[scheduler, id] as const])));
      for (const scheduler of OWN) {
        if (known.has(scheduler)) continue;
        const why = await tryScheduler(tools, { family, scheduler }, signal);
        if (why !== undefined)
          throw new AppError("KernelRejected", `the kernel has no virtual servers: ${why}`, { hint: `modprobe ip_vs_${scheduler}` });
        known.set(scheduler, true);
      }
      for (const [scheduler, id] of asked) {
        if (!isScheduler(scheduler))
          tell(id, `there is no scheduler ${JSON.stringify(scheduler.slice(0, 40))}: rr, or wrr where weights differ, takes its place`);
        else if (!known.has(scheduler)) {
          const why = await tryScheduler(tools, { family, scheduler }, signal);
          known.set(scheduler, why === undefined);
          if (why !== undefined)
            tell(
              id,
              `the kernel has no scheduler ${scheduler} (module ip_vs_${scheduler}): rr, or wrr where weights differ, takes its place`,
            );
        }
      }
      const hashed = frontends.find(hasHashedAffinity);
      for (const scheduler of hashed ? HASHES : [])
        if (!known.has(scheduler)) known.set(scheduler, (await tryScheduler(tools, { family, scheduler }, signal)) === undefined);
      if (hashed && !HASHES.some((scheduler) => known.get(scheduler)))
        tell(hashed.id, "the kernel has no ip_vs_mh and no ip_vs_sh: there is no affinity but at ClusterIPs");
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
