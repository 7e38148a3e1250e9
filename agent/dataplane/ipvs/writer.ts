import { describeError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { ForwardingTable, Frontend } from "#agent/compile/table.ts";
import type { FrontendChange } from "../frontends.ts";
import type { IptablesKind } from "../iptables/apply.ts";
import { ipWord } from "../iptables/names.ts";
import { canaries } from "../iptables/canaries.ts";
import { addressLines, EXTERNAL_LINES, NO_EXTERNAL_LINES, sourceOf, type DeviceEdge, type DeviceLook } from "./device.ts";
import type { Edge } from "./edge.ts";
import { oursOf, type RuleListing } from "./listing.ts";
import type { Marks } from "./marks.ts";
import { digitOf, PREFIX, type SetName } from "./names.ts";
import { rulesOf, type RuleOptions, type Rules, type TableName } from "./render.ts";
import { renderTable } from "./rules-text.ts";
import { IpvsState, type Held, type Steps } from "./state.ts";
import { setLines } from "./trials.ts";

/** Writes into the kernel, in an order in which no connection falls between. */

/** What the kernel holds. */
export interface Written {
  readonly table: Pick<ForwardingTable, "host">;
  readonly state: IpvsState;
  readonly rules: Rules;
  /** The list of xt_recent that the last write of each table names. */
  readonly writes: Readonly<Record<TableName, string>>;
  /** Are there the routing rules for addresses that are this host's own by a mark? */
  readonly hasExternal: boolean;
}

export interface Writer {
  /** Makes the kernel hold exactly this, from whatever of ours it holds. */
  sync(table: ForwardingTable, options: SyncOptions, signal: AbortSignal): Promise<Written>;
  update(held: Written, changes: readonly FrontendChange[], ports: HealthPorts): Promise<Written>;
  apply(held: Written, steps: Steps): Promise<Written>;
}

/** Of the services of one change, before and after it. */
export interface HealthPorts {
  readonly previous: readonly number[];
  readonly next: readonly number[];
}

export interface SyncOptions extends RuleOptions {
  readonly kind: IptablesKind;
  readonly frontends: readonly Frontend[];
  readonly healthPorts: readonly number[];
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

  /** All of it in a few processes: each costs more than what most of them tell. */
  const look = async ({ host }: ForwardingTable, { kind, frontends }: SyncOptions, signal: AbortSignal): Promise<Found> => {
    await device.ensure(signal);
    const sets = await edge.listSets(signal);
    const ways = await device.look(signal);
    // Whatever sets and routes are still there: the server gave these addresses to services.
    const balancers = frontends.filter(({ scope }) => scope === "loadBalancer").map(({ address }) => ipWord(address));
    const servers = oursOf(await edge.listServers(signal), {
      ranges: [...host.serviceCidrs, ...ways.addresses.keys(), ...balancers],
      sets,
    });
    return { sets, ways, servers, areSetsThere: new Set(sets.keys()), listing: await edge.listRules(kind, signal) };
  };

  /** Who has an address that this host does not have (yet) goes without it: connections of the host begin with the virtual IP then. */
  const route = async (lines: (source: string | undefined) => readonly string[], host: Written["table"]["host"]): Promise<void> => {
    const source = sourceOf(family, host);
    await edge.ip(lines(source)).catch(async (cause: unknown) => {
      if (source === undefined || !/prefsrc|source address|invalid argument/i.test(describeError(cause))) throw cause;
      await edge.ip(lines(undefined));
    });
  };

  const apply = async (held: Written, { prepare, open, turn, close, addresses }: Steps): Promise<Written> => {
    const needsExternal = !held.hasExternal && held.state.hasMarkedAddresses;
    await edge.sets(prepare);
    await edge.servers(open);
    const external = needsExternal ? EXTERNAL_LINES : [];
    await route((source) => [...addressLines(source, { added: addresses.added, removed: [] }), ...external], held.table.host);
    await edge.sets(turn);
    await edge.servers(close);
    await edge.ip(addressLines(undefined, { added: [], removed: addresses.removed }));
    return { ...held, hasExternal: held.hasExternal || needsExternal };
  };

  const writeRules = async (
    { rules, writes }: Pick<Written, "rules" | "writes">,
    { kind, listing, tables }: Pick<Found, "listing"> & { kind: IptablesKind; tables: readonly TableName[] },
  ): Promise<void> => {
    const texts = tables.map((table) => renderTable(table, { wanted: rules, listing: listing[table] }, writes[table]));
    await edge.rules(kind, texts.join(""));
  };

  return {
    async sync(table, options, signal) {
      const { kind, marks } = options;
      const found = await look(table, options, signal);
      const { listing, ways, areSetsThere } = found;
      const state = new IpvsState(family, { ...options, host: table.host, held: { servers: found.servers, sets: found.sets } });
      for (const frontend of options.frontends) state.put(frontend);
      for (const port of options.healthPorts) state.putHealthPort(port);
      const { prepare, open, turn, close } = state.takeSteps();
      marks.keepOnly(state.servers);
      const rules = rulesOf(family, table.host, options);
      const written = { table, state, rules, writes: namesOfWrites(family, nextCanary()) };
      const create = setLines(family, areSetsThere).join("");
      const isFirst = areSetsThere.size === 0; // no rule can ask sets that are not there
      await edge.sets([create, prepare, isFirst ? turn : ""].join(""));
      await edge.servers(open);
      if (!isFirst) await edge.sets(turn);
      const hasExternal = state.hasMarkedAddresses;
      const { added, stale, external, areHalf } = waysOf(family, { table, state, ways, hasExternal });
      // First who is refused; then packets for virtual IPs come in; and only then does nobody else translate them (another data plane of ours may have).
      const comeInAlready = added.length === 0 && external.length === 0;
      await writeRules(written, { kind, listing, tables: ["mangle", "filter", ...(comeInAlready ? (["nat"] as const) : [])] });
      if (areHalf) await edge.ip(NO_EXTERNAL_LINES, { goOn: true });
      await route((source) => [...addressLines(source, { added, removed: [] }), ...external], table.host);
      if (!comeInAlready) await writeRules(written, { kind, listing, tables: ["nat"] });
      await edge.servers(close);
      await edge.ip(addressLines(undefined, { added: [], removed: stale }));
      return { ...written, hasExternal };
    },

    async update(held, changes, ports) {
      const touched = changes.filter(({ previous, next }) => JSON.stringify(previous) !== JSON.stringify(next));
      for (const { previous } of touched) if (previous) held.state.remove(previous);
      for (const { next } of touched) if (next) held.state.put(next);
      for (const port of ports.previous) held.state.removeHealthPort(port);
      for (const port of ports.next) held.state.putHealthPort(port);
      return apply(held, held.state.takeSteps());
    },

    apply,
  };
}

interface Found extends Held {
  /** Of the sets, which there were. */
  readonly areSetsThere: ReadonlySet<SetName>;
  readonly ways: DeviceLook;
  readonly listing: Readonly<Record<TableName, RuleListing>>;
}

/** What is to be done about routes and routing rules. Those of somebody's half work (areHalf) are made anew. */
function waysOf(
  family: IpFamily,
  { table, state, ways, hasExternal }: Pick<Written, "table" | "state" | "hasExternal"> & Pick<Found, "ways">,
): {
  readonly added: readonly string[];
  readonly stale: readonly string[];
  readonly external: readonly string[];
  readonly areHalf: boolean;
} {
  const source = sourceOf(family, table.host);
  const wanted = state.entriesOf("VIPS");
  const isRight = (prefix: string): boolean => ways.addresses.has(prefix) && ways.addresses.get(prefix) === source;
  const areRight = ways.externalRules === (hasExternal ? "all" : "none");
  return {
    added: [...wanted.keys()].filter((prefix) => !isRight(prefix)),
    stale: [...ways.addresses.keys()].filter((prefix) => !wanted.has(prefix)),
    external: hasExternal && !areRight ? EXTERNAL_LINES : [],
    areHalf: !areRight && ways.externalRules !== "none",
  };
}

function namesOfWrites(family: IpFamily, canary: string): Written["writes"] {
  const nameOf = (table: TableName): string => `${PREFIX}${digitOf(family)}-${table}-${canary}`;
  return { mangle: nameOf("mangle"), nat: nameOf("nat"), filter: nameOf("filter") };
}
