import { AppError, describeError } from "#proto/error.ts";
import type { ForwardingTable, ServiceChange } from "#agent/compile/table.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { DataplaneDriver, Drift, DriverDeps, ProbeResult } from "../driver.ts";
import { frontendChanges } from "../frontends.ts";
import { openPassage } from "../iptables/passage.ts";
import { check, deleteTable, findExisting, hasTable, isInstalled, openWriter, type NftTools, type Writer } from "./apply.ts";
import { isTcpLiberal, setSysctls } from "../settings.ts";
import { heldOf, type Held } from "./held.ts";
import { openInspector } from "./inspect.ts";
import { planMark, planSync, planTidy, planUpdate, type Existing } from "./plan.ts";
import { probeTable } from "./probe-table.ts";
import { tableWord } from "./render.ts";
import { wordsOf } from "./words.ts";

export interface NftablesDriverDeps extends DriverDeps {
  readonly tools: NftTools;
  /** Where the kernel shows the lists of xt_recent (iptables/passage.ts). */
  readonly procNet?: string | undefined;
}

/** A chain can go when no packet and no transaction is about to use it any more. */
const TIDY_AFTER_MS = 1_000;
const NOTHING: Existing = { isCurrent: false, chains: [] };

export function createNftablesDriver(deps: NftablesDriverDeps): DataplaneDriver {
  const { family, tools, flows, log } = deps;
  const words = wordsOf(family);
  const passage = openPassage({ tools, family, log, procNet: deps.procNet });
  // Never used twice, also not by the agent before us.
  const epoch = (Date.now() ^ (process.pid << 16)) >>> 0;
  let writes = 0;
  let wroteAt = 0;
  /** What the kernel holds; undefined = unknown. */
  let held: Held | undefined;
  let writer: Writer | undefined;

  const nextMark = (): string => `0x${epoch.toString(16)} . 0x${(++writes).toString(16)}`;
  const write = async (text: string, mark: string): Promise<void> => {
    inspector.expect(mark);
    writer ??= openWriter(tools);
    await writer.write(text);
    wroteAt = performance.now();
  };
  /** `plan` moves the state that it is given; when the write fails, nobody knows what is held. */
  const writeHeld = async (state: Held, plan: (mark: string) => string): Promise<void> => {
    const mark = nextMark();
    held = undefined;
    const text = plan(mark);
    if (text !== "") await write(text, mark);
    held = state;
  };
  const inspector = openInspector({
    tools,
    log,
    touch: async () => {
      const state = held;
      if (!state) return;
      await writeHeld(state, (mark) => planMark(state, mark)).finally(() => (held = state)); // what is missing is told, and repaired by a sync
    },
  });

  return {
    name: "nftables",
    family,

    probe: (signal) => probe(deps, signal),

    async sync(table: ForwardingTable, signal) {
      held = undefined;
      inspector.pause();
      await setSysctls(deps, table.host, signal);
      const liberal = await isTcpLiberal(tools);
      const existing = await findExisting(tools, words, signal);
      const replace = async (found: Existing): Promise<Held> => {
        const planned = heldOf(table, family, { liberal });
        const mark = nextMark();
        await write(planSync(planned, found, mark), mark);
        return planned.held;
      };
      const next = await replace(existing).catch((cause: unknown) => {
        if (!existing.isCurrent) throw cause;
        log.warn({ error: describeError(cause) }, "what is in the table cannot be kept: replacing all of it, clients choose anew");
        return replace(NOTHING);
      });
      await passage.sync(table, signal);
      await flows.afterSync(table, signal);
      held = next;
    },

    async update(changes: readonly ServiceChange[], signal) {
      const state = held;
      if (!state) throw new AppError("KernelRejected", "what the kernel holds is not known: a sync must come first");
      const frontends = changes.flatMap((change) => frontendChanges(change, family));
      await passage.update(changes, signal);
      await writeHeld(state, (mark) => planUpdate(state, frontends, mark));
      held = undefined;
      await flows.afterChange(frontends, signal);
      held = state;
    },

    async verify(signal): Promise<Drift> {
      const state = held;
      if (!state) return { intact: true };
      const missing = await inspector.inspect(state, signal);
      if (missing.length > 0) return { intact: false, missing: missing.map((what) => `nft ${tableWord(words)}: ${what}`) };
      if (state.idle.size > 0 && performance.now() - wroteAt >= TIDY_AFTER_MS)
        await writeHeld(state, (mark) => planTidy(state, mark)).catch((cause: unknown) => {
          held = undefined;
          throw cause;
        });
      return passage.verify(signal);
    },

    close() {
      inspector.close();
      writer?.close();
      passage.close();
    },

    async cleanup({ dryRun }, signal) {
      held = undefined;
      inspector.pause();
      const removed = await removeTable(tools, family, { dryRun, signal });
      return [...removed, ...(await passage.cleanup({ dryRun }, signal)), ...(await deps.sysctls.restore({ dryRun }))];
    },
  };
}

async function probe({ tools, family }: NftablesDriverDeps, signal: AbortSignal): Promise<ProbeResult> {
  if (!(await isInstalled(tools)))
    return { usable: false, why: "nft is not installed, or not in the PATH", hint: "apt-get install nftables" };
  try {
    await check(tools, planSync(heldOf(probeTable(family), family, { liberal: false }), NOTHING, "0x0 . 0x1"), signal);
    return { usable: true, detail: "the kernel has all that the table needs" };
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause;
    return { usable: false, why: cause.message, hint: cause.hint ?? "the kernel must be 5.13 or newer, with nf_tables for this family" };
  }
}

async function removeTable(
  tools: NftTools,
  family: IpFamily,
  { dryRun, signal }: { readonly dryRun: boolean; readonly signal: AbortSignal },
): Promise<readonly string[]> {
  if (!(await isInstalled(tools)) || !(await hasTable(tools, family, signal))) return [];
  const what = `nft table ${tableWord(wordsOf(family))}`;
  if (dryRun) return [what];
  await deleteTable(tools, family);
  if (await hasTable(tools, family, signal)) throw new AppError("KernelRejected", `still there after the clean-up: ${what}`);
  return [what];
}
