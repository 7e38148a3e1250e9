import type { IpFamily } from "#proto/ip.ts";
import type { ForwardingTable, Frontend } from "#agent/compile/table.ts";
import type { FrontendChange } from "../frontends.ts";
import type { IptablesKind } from "../iptables/apply.ts";
import { canaries } from "../iptables/canaries.ts";
import { addressLines, EXTERNAL_LINES, NO_EXTERNAL_LINES, type DeviceEdge } from "./device.ts";
import type { Edge } from "./edge.ts";
import { oursOf } from "./listing.ts";
import { digitOf, PREFIX } from "./names.ts";
import { rulesOf, TABLES, type RuleOptions, type Rules, type TableName } from "./render.ts";
import { renderTable } from "./rules-text.ts";
import { IpvsState, type Marks, type Steps } from "./state.ts";
import { setLines } from "./trials.ts";

/** Writes into the kernel, in an order in which no connection falls between. */

/** What the kernel holds. */
export interface Written {
  readonly table: Pick<ForwardingTable, "host">;
  readonly state: IpvsState;
  readonly rules: Rules;
  /** The list of xt_recent that the last write of each table names. */
  readonly writes: Readonly<Record<TableName, string>>;
  /** Is there the routing rule for external IPs? */
  readonly hasExternal: boolean;
}

export interface Writer {
  /** Makes the kernel hold exactly this, from whatever of ours it holds. */
  sync(table: ForwardingTable, options: SyncOptions, signal: AbortSignal): Promise<Written>;
  update(held: Written, changes: readonly FrontendChange[]): Promise<Written>;
  apply(held: Written, steps: Steps): Promise<Written>;
}

export interface SyncOptions extends RuleOptions {
  readonly kind: IptablesKind;
  readonly frontends: readonly Frontend[];
  readonly marks: Marks;
  readonly hasScheduler: (name: string) => boolean;
}

export function openWriter({
  edge,
  device,
  family,
}: {
  readonly edge: Edge;
  readonly device: DeviceEdge;
  readonly family: IpFamily;
}): Writer {
  const nextCanary = canaries();

  const stateFrom = async (table: ForwardingTable, options: SyncOptions, signal: AbortSignal): Promise<IpvsState> => {
    const sets = await edge.listSets(signal);
    const ranges = [...table.host.serviceCidrs, ...(await device.addresses(signal))];
    const servers = oursOf(await edge.listServers(signal), { ranges, sets });
    const state = new IpvsState(family, { ...options, host: table.host, held: { servers, sets } });
    for (const frontend of options.frontends) state.put(frontend);
    return state;
  };

  const apply = async (held: Written, { prepare, open, turn, close, addresses }: Steps): Promise<Written> => {
    const needsExternal = !held.hasExternal && held.state.entriesOf("EXTERNAL").size > 0;
    await edge.sets(prepare);
    await edge.servers(open);
    await edge.ip([
      ...addressLines(family, held.table.host, { added: addresses.added, removed: [] }),
      ...(needsExternal ? EXTERNAL_LINES : []),
    ]);
    await edge.sets(turn);
    await edge.servers(close);
    await edge.ip(addressLines(family, held.table.host, { added: [], removed: addresses.removed }));
    return { ...held, hasExternal: held.hasExternal || needsExternal };
  };

  /** Rules of somebody's half work are made anew. */
  const external = async (needed: boolean, signal: AbortSignal): Promise<readonly string[]> => {
    const there = await device.externalRules(signal);
    if (there === (needed ? "all" : "none")) return [];
    if (there !== "none") await edge.ip(NO_EXTERNAL_LINES, { goOn: true });
    return needed ? EXTERNAL_LINES : [];
  };

  const writeRules = async (
    { rules, writes }: Pick<Written, "rules" | "writes">,
    { kind, tables }: { kind: IptablesKind; tables: readonly TableName[] },
    signal: AbortSignal,
  ): Promise<void> => {
    const texts: string[] = [];
    for (const table of tables)
      texts.push(renderTable(table, { wanted: rules, listing: await edge.listRules(kind, table, signal) }, writes[table]));
    await edge.rules(kind, texts.join(""));
  };

  return {
    async sync(table, options, signal) {
      const { kind, marks } = options;
      await device.ensure(signal);
      const state = await stateFrom(table, options, signal);
      const { prepare, open, turn, close } = state.takeSteps();
      marks.keepOnly(state.servers);
      const name = `${PREFIX}${digitOf(family)}-`;
      const canary = nextCanary();
      const writes = Object.fromEntries(TABLES.map((one) => [one, `${name}${one}-${canary}`])) as Record<TableName, string>;
      const written = { table, state, rules: rulesOf(family, table.host, options), writes };
      await edge.sets([...setLines(family), prepare].join(""));
      await edge.servers(open);
      await edge.sets(turn);
      // First who is refused; then packets for virtual IPs come in; and only then does nobody else translate them (another data plane of ours may have).
      await writeRules(written, { kind, tables: ["mangle", "filter"] }, signal);
      const wanted = [...state.entriesOf("VIPS").keys()];
      const stale = (await device.addresses(signal)).filter((prefix) => !state.entriesOf("VIPS").has(prefix));
      const hasExternal = state.entriesOf("EXTERNAL").size > 0;
      await edge.ip([...addressLines(family, table.host, { added: wanted, removed: [] }), ...(await external(hasExternal, signal))]);
      await writeRules(written, { kind, tables: ["nat"] }, signal);
      await edge.servers(close);
      await edge.ip(addressLines(family, table.host, { added: [], removed: stale }));
      return { ...written, hasExternal };
    },

    async update(held, changes) {
      const touched = changes.filter(({ previous, next }) => JSON.stringify(previous) !== JSON.stringify(next));
      for (const { previous } of touched) if (previous) held.state.remove(previous);
      for (const { next } of touched) if (next) held.state.put(next);
      return apply(held, held.state.takeSteps());
    },

    apply,
  };
}
