import { watch } from "node:fs";
import { readdir, readFile, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { describeError } from "#proto/error.ts";
import { HOST_LOCAL_ADDRESS } from "./places.ts";
import { openKnownUpstreams } from "./known-upstreams.ts";
import { canonicalAddress, DNS_PORT, isServer } from "./server-address.ts";
import type { Upstream } from "./upstream-udp.ts";

/** Where a host that is told to ask us keeps what its list said before: README, and the line that the agent prints. */
export const RESOLV_CONF_BACKUP = "/etc/resolv.conf.before-fairlead";

/** The host's list, and those that others keep who put a listener of their own into it. */
export interface ResolvConfPaths {
  readonly host: string;
  /** systemd-resolved's, of the servers that it really asks. */
  readonly resolved: string;
  /** NetworkManager's and resolvconf's; a folder has a list for each interface. */
  readonly behind?: readonly string[] | undefined;
  /** The host's list as it was before it named us. */
  readonly backup?: string | undefined;
}
export const RESOLV_CONF: ResolvConfPaths = {
  host: "/etc/resolv.conf",
  resolved: "/run/systemd/resolve/resolv.conf",
  behind: [
    "/run/NetworkManager/no-stub-resolv.conf", // with dns=dnsmasq
    "/run/dnsmasq/resolv.conf", // Debian's dnsmasq, told by resolvconf
    "/run/resolvconf/interface",
    "/run/resolvconf/interfaces", // openresolv
  ],
  backup: RESOLV_CONF_BACKUP,
};

/** systemd-resolved's own listeners: asking them would ask whoever they ask, us included. */
const RESOLVED_STUBS = ["127.0.0.53", "127.0.0.54"];
const RECHECK_MS = 5000;
const MAX_LISTS = 64;
/** Programs take three; each of ours has sockets of its own. */
const MAX_UPSTREAMS = 8;

/** The servers of a resolv.conf (5), in order. */
export function parseResolvConf(text: string): string[] {
  return text.split("\n").flatMap((line) => {
    const address = /^\s*nameserver\s+(\S+)/.exec(line)?.[1];
    return address !== undefined && isServer(address) ? [address] : [];
  });
}

/** What the files of the host name, and what is known beside them. */
export interface UpstreamSources {
  readonly host: readonly string[];
  readonly resolved: readonly string[];
  readonly behind: readonly (readonly string[])[];
  /** Of the original that `fairlead dns install` keeps while the file is ours: it is taken anew when the network changes. */
  readonly adopted: readonly string[];
  /** Whom the host named when it last named somebody else than us. */
  readonly known: readonly string[];
  readonly backup: readonly string[];
}

/**
 * Never ourselves, and whoever is behind a resolver of this host rather than that resolver, which may ask us. A resolver behind which nobody is known asks the
 * world itself. A host that was told to ask us names nobody else: whoever stood there before is asked on.
 */
export function chooseUpstreams({ host, resolved, behind, adopted, known, backup }: UpstreamSources, own: readonly string[]): string[] {
  const never = new Set([...own.map(canonicalAddress), HOST_LOCAL_ADDRESS, ...RESOLVED_STUBS]);
  const others = (servers: readonly string[]): string[] => servers.filter((address) => !never.has(canonicalAddress(address)));
  const outside = (servers: readonly string[]): string[] => others(servers).filter((address) => !isLoopback(address));
  const named = others(host);
  const chosen =
    outside(named).length > 0
      ? named
      : [
          ...(named.length === 0 ? [outside(resolved)] : []),
          ...behind.map(outside),
          named,
          others(resolved),
          others(adopted),
          others(known),
          others(backup),
        ].find((servers) => servers.length > 0);
  return [...new Set(chosen)].slice(0, MAX_UPSTREAMS);
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || canonicalAddress(address) === "::1";
}

export interface FollowOptions {
  readonly paths: ResolvConfPaths;
  readonly own: readonly string[];
  /** The file in which the servers survive that the host no longer names; absent = they do not survive a restart. */
  readonly knownFile?: string | undefined;
  /** Whom the original names that `fairlead dns install` keeps; absent = it keeps none. */
  readonly adopted?: (() => Promise<readonly string[]>) | undefined;
  readonly onChange: (upstreams: readonly Upstream[]) => void;
  readonly log: Pick<Logger, "warn">;
}

/** Calls `onChange` with the host's upstreams, at once and when they change, until the signal. */
export async function followHostUpstreams(
  { paths, own, knownFile, adopted, onChange, log }: FollowOptions,
  signal: AbortSignal,
): Promise<void> {
  const known = await openKnownUpstreams(knownFile);
  const keep = async (servers: readonly string[]): Promise<void> =>
    known
      .keep(servers)
      .catch((error: unknown) => log.warn({ file: knownFile, error: describeError(error) }, "cannot save which name servers the host had"));
  let held: string | undefined;
  while (!signal.aborted) {
    const changed = await watchLists(paths); // before reading, so that no change falls in between
    const [host, resolved, backup, ...behind] = await Promise.all(
      [paths.host, paths.resolved, paths.backup, ...(paths.behind ?? [])].map(serversOf),
    );
    const kept = (await adopted?.()) ?? [];
    const sources = { host: host ?? [], resolved: resolved ?? [], behind, adopted: kept, known: known.servers, backup: backup ?? [] };
    const servers = chooseUpstreams(sources, own);
    if (servers.join(" ") !== held) {
      held = servers.join(" ");
      onChange(servers.map((address) => ({ address, port: DNS_PORT })));
    }
    await keep(servers.length > 0 ? servers : known.servers); // also when it is the same: the state folder may have been deleted
    await sleep(RECHECK_MS, undefined, { signal: AbortSignal.any([signal, changed.signal]), ref: false }).catch(() => undefined);
    changed.close();
  }
}

/**
 * The signal is a sign of change in the folders of the lists, which are replaced as a whole, also where a link leads to another folder. What cannot be
 * watched, or is not there yet, is found by the recheck.
 */
async function watchLists(paths: ResolvConfPaths): Promise<{ readonly signal: AbortSignal; close(): void }> {
  const changed = new AbortController();
  const lists = [paths.host, paths.resolved, ...(paths.behind ?? [])];
  const targets = await Promise.all(lists.map((path) => realpath(path).catch(() => path)));
  const names = new Set([...lists, ...targets].map((path) => basename(path)));
  const watchers = [...new Set([...lists, ...targets].map((path) => dirname(path)).concat(paths.behind ?? []))].flatMap((folder) => {
    try {
      const watcher = watch(folder, { persistent: false }, (_event, file) => {
        if (file === null || names.has(file) || lists.includes(folder)) changed.abort();
      });
      watcher.on("error", () => changed.abort());
      return [watcher];
    } catch {
      return [];
    }
  });
  return {
    signal: changed.signal,
    close: () => {
      for (const watcher of watchers) watcher.close();
    },
  };
}

/** Of a list, or of all lists in a folder but those of the loopback interface, where local resolvers put themselves. */
async function serversOf(path: string | undefined): Promise<string[]> {
  if (path === undefined) return [];
  const files = await readdir(path).catch(() => undefined);
  if (!files) return parseResolvConf(await readFile(path, "utf8").catch(() => ""));
  const lists = files
    .filter((file) => !/^lo(\.|$)/.test(file))
    .toSorted()
    .slice(0, MAX_LISTS);
  return (await Promise.all(lists.map((file) => readFile(join(path, file), "utf8").catch(() => "")))).flatMap(parseResolvConf);
}
