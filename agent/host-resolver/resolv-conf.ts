import { createHash } from "node:crypto";
import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";
import { parseResolvConf } from "#agent/dns/upstreams.ts";

/** Texts of /etc/resolv.conf. Pure. */

const MARK = "# Made by `fairlead dns install`; `fairlead dns uninstall` puts back what stood here before.";
/** Its beginning, for `grep`: in a shell's string there is no backtick. */
export const MARK_PATTERN = `^${MARK.slice(0, MARK.indexOf(";") + 1).replaceAll("`", ".")}`;
/** What else such a file can say, and what stays as the host had it. */
const KEPT = /^\s*(search|domain|options|sortlist)\s/;

/**
 * The host's file with us as the only server. Never us beside another: some programs ask all at once and believe the first answer, and a public server's
 * NXDOMAIN may be faster than our answer.
 */
export function renderResolvConf(original: string, server: string): string {
  const kept = original.split("\n").filter((line) => KEPT.test(line));
  return [MARK, `nameserver ${server}`, ...kept.map((line) => line.trim()), ""].join("\n");
}

/** Somebody changed the rest of our file: theirs stays, and whom the host asked before comes back in our place. */
export function withoutUs(text: string, server: string, original: string): string {
  const before = original.split("\n").filter((line) => /^\s*nameserver\s/.test(line));
  return text
    .split("\n")
    .filter((line) => line !== MARK)
    .flatMap((line) => (parseResolvConf(line).includes(server) ? before : [line]))
    .join("\n");
}

/** What does not is no original: it is empty, half written, or ours. */
export function namesOthers(text: string, server: string): boolean {
  return parseResolvConf(text).some((other) => other !== server && other !== HOST_LOCAL_ADDRESS);
}

/** Whether the file begins as ours do. */
export function hasMark(text: string): boolean {
  return text.startsWith(`${MARK}\n`);
}

/** What goes into the place of our text, where no record says what it was made from; undefined = `saved` is no help. */
export function originalBehind(text: string, saved: string): string | undefined {
  const server = parseResolvConf(text)[0] ?? "";
  if (renderResolvConf(saved, server) === text) return saved;
  return namesOthers(saved, server) ? withoutUs(text, server, saved) : undefined;
}

/** Of all lines that name any: a program takes the last, and which that is may change. */
export function searchDomains(text: string): readonly string[] {
  const lines = text.split("\n").flatMap((line) => /^\s*(?:search|domain)\s+(.*)$/.exec(line)?.[1] ?? []);
  const domains = lines.flatMap((list) => list.trim().split(/\s+/)).map((domain) => domain.toLowerCase().replace(/\.$/, ""));
  return [...new Set(domains.filter((domain) => domain !== ""))];
}

export function checksum(text: string | Buffer): string {
  return createHash("sha256").update(text).digest("hex");
}

export type FileState = "ours" | "original" | "names us" | "others'" | "elsewhere";

/** Whose the file is now. */
export function fileState(text: string, held: { readonly ours: string; readonly original: string; readonly server: string }): FileState {
  const sum = checksum(text);
  if (sum === held.ours) return "ours";
  if (sum === held.original) return "original";
  return parseResolvConf(text).includes(held.server) ? "names us" : "others'";
}

/** Whether the path leads to another file than when it was saved, or to one that a daemon keeps: that one is not ours to write. */
export function isElsewhere(real: string, saved: string | undefined): boolean {
  return real.startsWith("/run/") || (saved !== undefined && saved !== real);
}

/** So often within an hour is a file taken that somebody else has written: a lease that is renewed is one, a fight is not. */
export const MAX_TAKEN = 3;
const HOUR_MS = 3_600_000;

export type Step = "nothing" | "write" | "adopt" | "report";

/** What the agent does about the file. `taken`: when it was taken from others before. */
export function nextStep(state: FileState, taken: readonly number[], now: number): Step {
  if (state === "ours") return "nothing";
  if (state === "original") return "write";
  if (state === "names us" || state === "elsewhere") return "report";
  return taken.filter((at) => now - at < HOUR_MS).length < MAX_TAKEN ? "adopt" : "report";
}
