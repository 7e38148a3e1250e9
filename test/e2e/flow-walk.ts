import { sameService, type ForwardingTable, type ServiceChange } from "#agent/compile/table.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { Ask, Seen } from "#test/fleet/stations.ts";
import { holdsFor, isSticky, seenAsHost, wantOf } from "#test/packet/flows/expect.ts";
import type { Flow, Mode } from "#test/packet/flows/flow.ts";
import { isEndpoints, targetOf, wantedOf, type Row } from "#test/packet/flows/names.ts";
import { earlierTableOf, tableOf } from "#test/packet/flows/state.ts";
import { rowsBySetting } from "#test/packet/flows/table.ts";
import { addressOf, FAMILIES, HOST_1_IPS, LOOPBACK } from "#test/packet/flows/world.ts";
import type { FlowWorld } from "./flow-world.ts";

/** The flow table through a kernel: one table per setting, all flows side by side, with real sockets. */

export interface Walked {
  /** Row.index. */
  readonly row: number;
  readonly family: IpFamily;
  readonly seen: Seen;
}

export interface Pace {
  /** How long nothing must have come of a connection until it counts as dropped. */
  readonly dropMs: number;
  /** How long an answer may take. */
  readonly answerMs: number;
  /** Services that one update brings. */
  readonly changesAtOnce: number;
  /** Of the connections that are drawn to see shares. */
  readonly drawn: number;
  /** Whether no two connections of a sender have the same port. */
  readonly freshPorts?: boolean;
  /** Whether the kernel has it. */
  readonly hasSctp?: boolean;
  /** Which rows; absent = all. */
  readonly only?: (row: Row) => boolean;
}

const SIDE_BY_SIDE = 24;

export async function walkFlows(
  world: FlowWorld,
  drivers: Readonly<Partial<Record<IpFamily, DataplaneDriver>>>,
  mode: Mode,
  pace: Pace,
): Promise<Walked[]> {
  const walked: Walked[] = [];
  const families = FAMILIES.filter((family) => drivers[family]);
  for (const [setting, all] of rowsBySetting) {
    const rows = all.filter(pace.only ?? (() => true));
    if (rows.length === 0) continue;
    for (const [turn, family] of families.entries()) {
      const driver = drivers[family];
      if (driver)
        await bring(driver, { earlier: earlierTableOf(rows, setting, turn), table: tableOf(rows, setting), atOnce: pace.changesAtOnce });
    }
    const flows = families.flatMap((family) => rows.filter((row) => isAsked(row, mode, family, pace)).map((row) => ({ row, family })));
    const lane = async (): Promise<void> => {
      for (let next = flows.pop(); next; next = flows.pop()) {
        const { row, family } = next;
        const seen = await world.sender(row.from).ask(askOf(row, wantOf(row, mode, family) ?? row.want, family, pace));
        walked.push({ row: row.index, family, seen });
      }
    };
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, lane));
  }
  return walked;
}

interface Step {
  readonly earlier: ForwardingTable;
  readonly table: ForwardingTable;
  readonly atOnce: number;
}

/** What the walk finds was partly written by a sync, partly by updates. */
async function bring(driver: DataplaneDriver, { earlier, table, atOnce }: Step): Promise<void> {
  const signal = AbortSignal.timeout(600_000);
  await driver.sync(earlier, signal);
  const keys = [...new Set([...earlier.services.keys(), ...table.services.keys()])];
  const changes = keys
    .map((key): ServiceChange => ({ key, previous: earlier.services.get(key), next: table.services.get(key) }))
    .filter(({ previous, next }) => !sameService(previous, next));
  for (let at = 0; at < changes.length; at += atOnce) await driver.update(changes.slice(at, at + atOnce), signal);
}

/** Debian's cloud kernel has no SCTP, the one of User-Mode Linux does; whoever runs the walk says so. */
export function isAsked(
  row: Row,
  mode: Mode,
  family: IpFamily,
  { hasSctp = false }: { readonly hasSctp?: boolean | undefined } = {},
): boolean {
  return holdsFor(row, family) && (hasSctp || !row.to.endsWith("/sctp")) && wantOf(row, mode, family) !== undefined;
}

function askOf(row: Row, want: Flow["want"], family: IpFamily, pace: Pace): Ask {
  const { address, port, protocol } = targetOf(row, family);
  const isSilent = want === "DROP" || want === "REFUSED";
  return {
    address,
    port,
    protocol,
    ...(row.from === "h1b" && { source: addressOf("h1b", family) }),
    ...(pace.freshPorts === true && { freshPorts: true }),
    times: isSilent || protocol === "icmp" ? 1 : timesOf(row, want, pace),
    timeoutMs: isSilent ? pace.dropMs : pace.answerMs,
  };
}

function timesOf(row: Row, want: Flow["want"], { drawn }: Pace): number {
  if (!isEndpoints(want) || want.length === 1) return 3;
  if (isSticky(row)) return 10;
  return Math.round((row.draws ?? Math.min(1_500, Math.max(400, 40 * want.length))) * drawn);
}

/** One line per disagreement of what was seen with what the row says; none = as it says. */
export function faultsSeen(row: Row, mode: Mode, family: IpFamily, seen: Seen): readonly string[] {
  const want = wantOf(row, mode, family) ?? row.want;
  const faults = [...failuresOf(row, want, seen), ...sharesOf(row, want, family, seen), ...clientsOf(row, want, family, seen)];
  return faults.length === 0 ? [] : [...faults, `all of it: ${JSON.stringify(seen)}`];
}

const FAILURES: Readonly<Record<string, readonly string[]>> = {
  REJECT: ["ECONNREFUSED"],
  DROP: ["timeout"],
  REFUSED: ["ECONNREFUSED", "timeout"],
};

function failuresOf({ name }: Row, want: Flow["want"], { failures, answers }: Seen): string[] {
  const allowed = (typeof want === "string" && FAILURES[want]) || [];
  const strange = Object.keys(failures).filter((reason) => !allowed.includes(reason));
  const faults = strange.map((reason) => `${failures[reason] ?? 0} connections failed with ${reason}`);
  if (allowed.length > 0 && Object.keys(failures).length === 0) faults.push(`nobody was refused or dropped: ${name}`);
  if (allowed.length > 0) faults.push(...Object.keys(answers).map((who) => `${who} answered`));
  return faults;
}

/** Within five standard deviations of a fair draw: wrong once in a million rows. That shares are exact is shown in memory. */
const FEW = 10; // so many more come to who expects nearly none as seldom as that
function sharesOf(row: Row, want: Flow["want"], family: IpFamily, { answers }: Seen): string[] {
  if (typeof want === "string" && FAILURES[want]) return [];
  const wanted = wantedOf(row, want, family);
  const total = Object.values(answers).reduce((sum, count) => sum + count, 0);
  const faults = Object.keys(answers)
    .filter((who) => !wanted.some(({ to }) => to === who))
    .map((who) => `${who} answered`);
  if (total === 0) faults.push("nobody answered");
  if (isSticky(row) && Object.keys(answers).length > 1) faults.push("one client came to several endpoints");
  if (isSticky(row)) return faults;
  for (const { to, share } of wanted) {
    const bound = Math.max(FEW, 5 * Math.sqrt(total * share * (1 - share)));
    const got = answers[to] ?? 0;
    if (Math.abs(got - total * share) > bound) faults.push(`${to} got ${got} of ${total}, which is not a share of ${share}`);
  }
  return faults;
}

function clientsOf(row: Row, want: Flow["want"], family: IpFamily, { clients }: Seen): string[] {
  return Object.entries(clients).flatMap(([who, seen]) => {
    if (who === "ECHO") return [];
    const asHost = seenAsHost(row, want, family, who);
    // Its first address, the bridge's, or loopback: the kernel chooses.
    const ofItself = row.from === "h1" ? [...HOST_1_IPS, LOOPBACK[family]] : [addressOf(row.from, family)];
    const allowed = asHost === undefined || asHost ? HOST_1_IPS : ofItself;
    return seen.filter((client) => !allowed.includes(client)).map((client) => `${who} sees ${client}`);
  });
}
