import { SET_NAMES, setWord } from "#agent/dataplane/ipvs/names.ts";
import type { Steps } from "#agent/dataplane/ipvs/state.ts";
import type { IpFamily } from "#proto/ip.ts";

/** `ipset restore` and `ipvsadm -R` in memory, as strict as the tools: what a text makes of sets and virtual servers. */

export interface IpvsModel {
  /** set → entry → mark, 0 where it has none. */
  readonly sets: ReadonlyMap<string, ReadonlyMap<string, number>>;
  /** `-t 10.96.0.10:80`, `-f 7 -6` → what it is. */
  readonly servers: ReadonlyMap<string, ModelServer>;
}

export interface ModelServer {
  readonly scheduler: string;
  readonly flags: string;
  /** Seconds; 0 = none. */
  readonly persistence: number;
  readonly reals: ReadonlyMap<string, number>;
}

export function emptyModel(family: IpFamily): IpvsModel {
  return { sets: new Map(SET_NAMES.map((set) => [setWord(family, set), new Map()])), servers: new Map() };
}

export function applySteps(before: IpvsModel, { prepare, open, turn, close }: Steps): IpvsModel {
  return applyIpvsadm(applyIpset(applyIpvsadm(applyIpset(before, prepare), open), turn), close);
}

/** The same line after line: what the kernel holds after each. */
export function* linesOf(before: IpvsModel, { prepare, open, turn, close }: Steps): Generator<ModelLine> {
  const texts = [
    ["ipset", prepare],
    ["ipvsadm", open],
    ["ipset", turn],
    ["ipvsadm", close],
  ] as const;
  let model = before;
  for (const [tool, text] of texts)
    for (const line of text.split("\n").filter((one) => one !== "")) {
      model = tool === "ipset" ? applyIpset(model, line) : applyIpvsadm(model, line);
      yield { tool, line, after: model };
    }
}

export interface ModelLine {
  readonly tool: "ipset" | "ipvsadm";
  readonly line: string;
  readonly after: IpvsModel;
}

/** `-exist restore`: what is there is overwritten, and what is not there may be deleted. */
export function applyIpset(before: IpvsModel, text: string): IpvsModel {
  const sets = new Map(before.sets);
  for (const line of text.split("\n").filter((one) => one !== "")) {
    const [, verb, name = "", entry = "", mark] =
      /^(add|del) (\S+) (\S+)(?: skbmark (0x[0-9a-f]+))?$/.exec(line) ?? fail("not understood", line);
    const entries = new Map(sets.get(name) ?? fail("no such set", line));
    if (verb === "add") entries.set(entry, Number(mark ?? 0));
    else if (!entries.delete(entry)) fail("no such entry", line); // -exist hides this from the tool, but not from us
    sets.set(name, entries);
  }
  return { ...before, sets };
}

export function applyIpvsadm(before: IpvsModel, text: string): IpvsModel {
  const servers = new Map(before.servers);
  for (const line of text.split("\n").filter((one) => one !== "")) {
    const [, verb = "", name = "", rest = ""] =
      /^-([ADEaed]) ((?:-t|-u|--sctp-service|-f) \S+(?: -6)?)(?: (.*))?$/.exec(line) ?? fail("not understood", line);
    const server = servers.get(name);
    if (verb === "A" ? server : !server) fail(verb === "A" ? "service already exists" : "no such service", line);
    if (verb === "D") servers.delete(name);
    else if (verb === "A" || verb === "E") servers.set(name, { ...definitionOf(rest, line), reals: server?.reals ?? new Map() });
    else if (server) servers.set(name, { ...server, reals: withReal(server.reals, { verb, rest, line }) });
  }
  return { ...before, servers };
}

function definitionOf(rest: string, line: string): Omit<ModelServer, "reals"> {
  const [, scheduler = "", flags = "", persistence = "0"] =
    /^-s (\w+)(?: -b (\S+))?(?: -p (\d+))?$/.exec(rest) ?? fail("not understood", line);
  const fallback = scheduler === "sh" || scheduler === "mh" ? [`${scheduler}-fallback`] : [];
  if (![fallback, [...fallback, "flag-3"]].some((known) => known.join() === flags))
    fail("hashes need their fallback, and nobody another flag than ours", line);
  return { scheduler, flags, persistence: Number(persistence) };
}

function withReal(
  before: ReadonlyMap<string, number>,
  { verb, rest, line }: { readonly verb: string; readonly rest: string; readonly line: string },
): ReadonlyMap<string, number> {
  const reals = new Map(before);
  const [, real = "", weight] = /^-r (\S+)(?: -m -w (\d+))?$/.exec(rest) ?? fail("not understood", line);
  if (verb === "a" ? reals.has(real) : !reals.has(real)) fail(verb === "a" ? "destination already exists" : "no such destination", line);
  if ((verb === "d") !== (weight === undefined)) fail("not understood", line);
  if (verb === "d") reals.delete(real);
  else reals.set(real, Number(weight));
  return reals;
}

function fail(why: string, line: string): never {
  throw new Error(`${why}: ${line}`);
}
