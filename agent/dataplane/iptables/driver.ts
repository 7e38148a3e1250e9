import { AppError, describeError } from "#proto/error.ts";
import type { ForwardingTable, ServiceChange } from "#agent/compile/table.ts";
import type { FlowCleaner } from "../conntrack.ts";
import type { DataplaneDriver, Drift, ProbeResult } from "../driver.ts";
import type { DataplaneLog } from "../log.ts";
import type { Sysctls } from "../sysctl.ts";
import { list, openRestorer, type IptablesKind, type Restorer, type RestoreTools } from "./apply.ts";
import { cleanupTables } from "./cleanup.ts";
import { detectIptables, type IptablesFound } from "./detect.ts";
import { frontendChanges, frontendsOf } from "../frontends.ts";
import { applyChanges, planSync, ruleTreesOf, type Rules } from "./plan.ts";
import { openInspector, type Inspector } from "./inspect.ts";

export interface IptablesDriverDeps {
  readonly tools: RestoreTools;
  readonly flows: FlowCleaner;
  readonly sysctls: Sysctls;
  readonly log: DataplaneLog;
  /** undefined = the one that this host uses. */
  readonly kind?: IptablesKind | undefined;
  /** Where the kernel shows the lists of xt_recent. */
  readonly procNet?: string;
}

export function createIptablesDriver(deps: IptablesDriverDeps): DataplaneDriver {
  const { tools, flows, sysctls, log } = deps;
  /** What the kernel holds; undefined = unknown. */
  let held: Rules | undefined;
  let found: IptablesFound | undefined;
  let inspector: Inspector | undefined;
  let restorer: Restorer | undefined;
  /** Seen before an update that would have hidden it. */
  let lost: readonly string[] = [];
  let writes = 0;
  // Never used twice, also not by the agent before us: a rule set that somebody restored from a file is told from ours by it.
  const epoch = `${Date.now().toString(36)}-${process.pid}`;
  const nextCanary = (): string => `${epoch}-${++writes}`;

  const kindOf = async (signal: AbortSignal): Promise<IptablesFound> => {
    found ??= await detectIptables(tools, signal);
    if (!found)
      throw new AppError("KernelRejected", "neither iptables-nft nor iptables-legacy is installed", { hint: "apt-get install iptables" });
    return deps.kind === undefined ? found : { ...found, kind: deps.kind, why: "the configuration says so" };
  };

  return {
    name: "iptables",
    family: "IPv4",

    async probe(signal): Promise<ProbeResult> {
      try {
        const { kind, why, warning } = await kindOf(signal);
        if (warning !== undefined) log.warn({ kind }, warning);
        for (const table of ["nat", "filter"] as const) await list(tools, kind, table, signal);
        return { usable: true, detail: `iptables-${kind}: ${why}` };
      } catch (cause) {
        if (!(cause instanceof AppError)) throw cause;
        return { usable: false, why: cause.message, hint: cause.hint ?? "see agent/dataplane/README.md" };
      }
    },

    async sync(table: ForwardingTable, signal) {
      held = undefined;
      const { kind, installed } = await kindOf(signal);
      await setSysctls(deps, table);
      const listings = { nat: await list(tools, kind, "nat", signal), filter: await list(tools, kind, "filter", signal) };
      const rules = ruleTreesOf(table, nextCanary());
      restorer ??= openRestorer(tools, kind);
      await restorer.restore(planSync(rules, listings));
      // Leftovers of a run that used the other kind would translate too; after ours are in place, so that there is always one.
      const other = installed.filter((one) => one !== kind);
      for (const what of await cleanupTables(tools, { kinds: other, dryRun: false }, signal)) log.info({ what }, "removed leftover");
      await flows.afterSync(frontendsOf(table.services.values(), "IPv4"), signal);
      inspector ??= openInspector({ tools, kind, procNet: deps.procNet ?? "/proc/net" });
      held = rules;
      lost = [];
    },

    async update(changes: readonly ServiceChange[], signal) {
      if (!held || !restorer) throw new AppError("KernelRejected", "what the kernel holds is not known: a sync must come first");
      const rules = held;
      if (lost.length === 0) lost = inspector?.glance(rules) ?? [];
      const frontends = changes.flatMap((change) => frontendChanges(change, "IPv4"));
      held = undefined; // until it is known to have been applied
      const text = applyChanges(rules, frontends, nextCanary());
      if (text !== "") await restorer.restore(text);
      await flows.afterChange(frontends, signal);
      held = rules;
    },

    async verify(signal): Promise<Drift> {
      if (!held || !inspector) return { intact: true };
      const missing = lost.length > 0 ? lost : await inspector.inspect(held, signal);
      return missing.length === 0 ? { intact: true } : { intact: false, missing };
    },

    close: () => restorer?.close(),

    async cleanup({ dryRun }, signal) {
      held = undefined;
      const installed = (await detectIptables(tools, signal))?.installed ?? [];
      return [...(await cleanupTables(tools, { kinds: installed, dryRun }, signal)), ...(await sysctls.restore({ dryRun }))];
    },
  };
}

/** A setting that cannot be made (a container whose /proc/sys is read-only) stops only what needs it. */
async function setSysctls({ sysctls, log }: IptablesDriverDeps, { host }: ForwardingTable): Promise<void> {
  try {
    const changed = await sysctls.ensure(host);
    if (changed.length > 0) log.info({ changed }, "set sysctls");
  } catch (cause) {
    log.warn({ hint: cause instanceof AppError ? cause.hint : undefined }, describeError(cause));
  }
}
