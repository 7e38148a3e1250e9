import { AppError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { ForwardingTable, ServiceChange } from "#agent/compile/table.ts";
import type { FlowCleaner } from "../conntrack.ts";
import type { DataplaneDriver, Drift, ProbeResult } from "../driver.ts";
import { frontendChanges } from "../frontends.ts";
import type { DataplaneLog } from "../log.ts";
import { isTcpLiberal, setSysctls } from "../settings.ts";
import type { Sysctls } from "../sysctl.ts";
import { list, openRestorer, type IptablesKind, type Restorer, type RestoreTools, type Target } from "./apply.ts";
import { canaries } from "./canaries.ts";
import { openPassage, type Passage } from "./passage.ts";
import { cleanupTables } from "./cleanup.ts";
import { detectIptables, type IptablesFound } from "./detect.ts";
import { openInspector, type Inspector } from "./inspect.ts";
import { isOurJump } from "./listing.ts";
import { followHealth } from "./health-ports.ts";
import { applyChanges, planSync, rulesOf, type Rules } from "./plan.ts";
import { missingParts } from "./probe.ts";
import { wordsOf } from "./words.ts";

export interface IptablesDriverDeps {
  readonly tools: RestoreTools;
  readonly flows: FlowCleaner;
  readonly sysctls: Sysctls;
  readonly log: DataplaneLog;
  /** IPv4 unless said otherwise. */
  readonly family?: IpFamily;
  /** undefined = the one that this host uses. */
  readonly kind?: IptablesKind | undefined;
  /** Where the kernel shows the lists of xt_recent. */
  readonly procNet?: string;
}

export function createIptablesDriver(deps: IptablesDriverDeps): DataplaneDriver {
  const { tools, flows, sysctls, log, family = "IPv4" } = deps;
  const words = wordsOf(family);
  const besideWords = wordsOf(family, "beside");
  /** What the kernel holds; undefined = unknown. */
  let held: Rules | undefined;
  let found: IptablesFound | undefined;
  let inspector: Inspector | undefined;
  let restorer: Restorer | undefined;
  /** Seen before an update that would have hidden it. */
  let lost: readonly string[] = [];
  const nextCanary = canaries();
  /** In the other iptables, where that is installed. */
  let beside: Passage | undefined;

  const besideOf = ({ kind, installed }: IptablesFound): Passage | undefined => {
    const other = installed.find((one) => one !== kind);
    return other && (beside ??= openPassage({ tools, family, log, kind: other, procNet: deps.procNet, of: "beside" }));
  };

  const kindOf = async (signal: AbortSignal): Promise<IptablesFound> => {
    found ??= await detectIptables(tools, family, signal);
    if (!found)
      throw new AppError("KernelRejected", `neither ${words.program}-nft nor ${words.program}-legacy is installed`, {
        hint: "apt-get install iptables",
      });
    return deps.kind === undefined ? found : { ...found, kind: deps.kind, why: "the configuration says so" };
  };

  const restorerOf = (kind: IptablesKind): Restorer => (restorer ??= openRestorer(tools, { kind, words }));

  return {
    name: "iptables",
    family,

    async probe(signal): Promise<ProbeResult> {
      try {
        const { kind, why, warning } = await kindOf(signal);
        if (warning !== undefined) log.warn({ kind }, warning);
        const probed = await probe(tools, { kind, words, why }, signal);
        if (probed.usable) restorerOf(kind).prepare(); // to fork costs the more, the larger this process is: it is still small
        return probed;
      } catch (cause) {
        if (!(cause instanceof AppError)) throw cause;
        return { usable: false, why: cause.message, hint: cause.hint ?? "see agent/dataplane/README.md" };
      }
    },

    async sync(table: ForwardingTable, signal) {
      held = undefined;
      const found = await kindOf(signal);
      const { kind, installed } = found;
      const target = { kind, words };
      const writer = restorerOf(kind);
      writer.prepare();
      const [nat, filter, liberal, , rules] = await Promise.all([
        list(tools, target, "nat", signal),
        list(tools, target, "filter", signal),
        isTcpLiberal(tools),
        setSysctls({ ...deps, family }, table.host, signal),
        (async () => rulesOf(table, { family }))(), // the last: while the tools look
      ]);
      const leftovers = { kinds: installed.filter((one) => one !== kind), words };
      const looking = Promise.withResolvers<readonly string[]>();
      looking.promise.catch(() => undefined); // heard below, unless the write fails first
      const look = (): void => looking.resolve(cleanupTables(tools, { ...leftovers, dryRun: true }, signal));
      // The look comes while the kernel takes the text in, when this process has nothing else to do.
      await writer.restore(followed(planSync(rules, { nat, filter, liberal }, nextCanary()), look));
      // Leftovers of a run that used the other kind would translate too; after ours are in place, so that there is always one.
      if ((await looking.promise).length > 0)
        for (const what of await cleanupTables(tools, { ...leftovers, dryRun: false }, signal)) log.info({ what }, "removed leftover");
      // What stood beside the other kind, when that one was ours.
      if ([...filter.hooks.values()].flat().some((rule) => isOurJump(besideWords, rule)))
        await cleanupTables(tools, { kinds: [kind], words: besideWords, dryRun: false }, signal);
      await besideOf(found)?.hold(table, signal);
      await flows.afterSync(table, signal);
      inspector ??= openInspector({ tools, procNet: deps.procNet ?? "/proc/net", ...target });
      held = rules;
      lost = [];
    },

    async update(changes: readonly ServiceChange[], signal) {
      if (!held || !restorer) throw new AppError("KernelRejected", "what the kernel holds is not known: a sync must come first");
      const rules = held;
      if (lost.length === 0) lost = inspector?.glance([rules.nat, rules.filter]) ?? [];
      const frontends = changes.flatMap((change) => frontendChanges(change, family));
      held = undefined; // until it is known to have been applied
      followHealth(rules.health, changes);
      const text = applyChanges(rules, frontends, nextCanary());
      await beside?.update(changes, signal);
      if (text !== "") await restorer.restore(text);
      await flows.afterChange(frontends, signal);
      held = rules;
    },

    async verify(signal): Promise<Drift> {
      if (!held || !inspector) return { intact: true };
      const missing = lost.length > 0 ? lost : await inspector.inspect([held.nat, held.filter], signal);
      return missing.length > 0 ? { intact: false, missing } : ((await beside?.verify(signal)) ?? { intact: true });
    },

    close() {
      restorer?.close();
      beside?.close();
    },

    async cleanup({ dryRun }, signal) {
      held = undefined;
      beside?.close();
      const kinds = (await detectIptables(tools, family, signal))?.installed ?? [];
      const removed: string[] = [];
      for (const writer of ["driver", "beside"] as const)
        removed.push(...(await cleanupTables(tools, { kinds, words: wordsOf(family, writer), dryRun }, signal)));
      return [...removed, ...(await sysctls.restore({ dryRun }))];
    },
  };
}

async function probe(
  tools: RestoreTools,
  { kind, words, why }: Target & { readonly why: string },
  signal: AbortSignal,
): Promise<ProbeResult> {
  const missing = await missingParts(tools, { kind, words }, signal);
  if (missing && missing.length > 0)
    return {
      usable: false,
      why: `the kernel lacks what ${words.program}-${kind} needs: ${missing.join(", ")}`,
      hint: "install the kernel's full set of modules (Debian: linux-image-amd64 and not -cloud; linux-modules-extra on Ubuntu)",
    };
  if (!missing) for (const table of ["nat", "filter"] as const) await list(tools, { kind, words }, table, signal);
  return { usable: true, detail: `${words.program}-${kind}: ${why}` };
}

function* followed(pieces: Iterable<string>, atEnd: () => void): Generator<string> {
  yield* pieces;
  atEnd();
}
