import type { IpFamily } from "#proto/ip.ts";
import type { Outcome, Packet } from "../packet.ts";
import type { Exception, Flow, Mode } from "./flow.ts";
import { INSTEAD, isEndpoints, targetOf, wantedOf, type Row } from "./names.ts";
import { addressOf, HOST_1_IPS } from "./world.ts";

/** What a row demands of one mode and family, and whether a walk in memory met it. */

/** The first of the row's exceptions that is about this mode and family. */
export function exceptionOf({ except = [] }: Flow, mode: Mode, family: IpFamily): Exception | undefined {
  return except.find((one) => one.mode === mode && (one.family ?? family) === family);
}

/** What the mode must do; undefined = it is not asked, for the reason that the exception gives. */
export function wantOf(row: Flow, mode: Mode, family: IpFamily): Flow["want"] | undefined {
  const exception = exceptionOf(row, mode, family);
  return exception ? exception.want : row.want;
}

export function holdsFor({ only }: Flow, family: IpFamily): boolean {
  return only === undefined || only === family;
}

export const isSticky = ({ services }: Flow): boolean => services.some(({ spec }) => spec?.["sessionAffinity"] === "ClientIP");

export const isOfHost1 = ({ from }: Flow): boolean => from === "h1" || from === "h1b";

export function packetOf(row: Row, family: IpFamily): Packet {
  return { origin: isOfHost1(row) ? "host" : "forwarded", source: addressOf(row.from, family), ...targetOf(row, family) };
}

/** One line per disagreement; none = as the row says. */
export function faultsOf(row: Row, want: Flow["want"], family: IpFamily, outcomes: readonly Outcome[]): readonly string[] {
  const got = outcomes.map(({ to, share, masqueraded }) => `${to} ${share.toFixed(6)}${masqueraded ? " masqueraded" : ""}`);
  const wanted = wantedOf(row, want, family);
  const faults: string[] = [];
  for (const { to, share } of wanted) {
    const found = outcomes.filter((outcome) => isSame(to, outcome.to));
    const total = found.reduce((sum, outcome) => sum + outcome.share, 0);
    if (Math.abs(total - share) > 1e-6) faults.push(`${to} gets ${total} and not ${share} of the connections`);
    const asHost = seenAsHost(row, want, family, to);
    if (asHost !== undefined && found.some(({ masqueraded }) => masqueraded !== asHost))
      faults.push(`${to} sees ${asHost ? "the client" : "the host"} and not ${asHost ? "the host" : "the client"}`);
  }
  const strangers = outcomes.filter((outcome) => !wanted.some(({ to }) => isSame(to, outcome.to)));
  faults.push(...strangers.map(({ to }) => `${to} gets connections`));
  return faults.length === 0 ? [] : [...faults, `all of it: ${got.join(", ")}`];
}

const isSame = (wanted: string, got: string): boolean => wanted === got || (wanted === "REFUSED" && (got === "REJECT" || got === "DROP"));

/** Must the source be the host's at this endpoint? undefined = it is in any case, or nobody sees it. */
export function seenAsHost(row: Row, want: Flow["want"], family: IpFamily, to: string): boolean | undefined {
  if (INSTEAD.has(to)) return undefined;
  if (isOfHost1(row) && HOST_1_IPS.some((ip) => to.startsWith(`${ip}:`) || to.startsWith(`[${ip}]:`))) return undefined;
  if (!isEndpoints(want)) return false;
  const { seenAs = "client" } = row;
  if (typeof seenAs === "string") return seenAs === "host";
  const unsorted = want.map((word, i) => ({ to: wantedOf(row, [word], family)[0]?.to, seenAs: seenAs[i] }));
  return unsorted.find((one) => one.to === to)?.seenAs === "host";
}
