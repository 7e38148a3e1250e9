import { watch } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Logger } from "pino";
import { describeError } from "#proto/error.ts";
import { openKnownUpstreams } from "./known-upstreams.ts";
import { isServer } from "./server-address.ts";
import type { Upstream } from "./upstream-udp.ts";

/** Where a host that is told to ask us keeps what its list said before: README, and the line that the agent prints. */
export const RESOLV_CONF_BACKUP = "/etc/resolv.conf.before-fairlead";

/** The host's list, the one that systemd-resolved keeps of the servers it really asks, and the host's list as it was before it named us. */
export interface ResolvConfPaths {
  readonly host: string;
  readonly resolved: string;
  readonly backup?: string | undefined;
}
export const RESOLV_CONF: ResolvConfPaths = {
  host: "/etc/resolv.conf",
  resolved: "/run/systemd/resolve/resolv.conf",
  backup: RESOLV_CONF_BACKUP,
};

/** systemd-resolved's own listeners: asking them would ask whoever they ask, us included. */
const RESOLVED_STUBS = ["127.0.0.53", "127.0.0.54"];
const RECHECK_MS = 5000;

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
  /** Whom the host named when it last named somebody else than us. */
  readonly known: readonly string[];
  readonly backup: readonly string[];
}

/**
 * Never ourselves; the servers behind systemd-resolved where the host asks it (or only us). A host that was told to ask us names nobody else:
 * whoever stood there before is asked on.
 */
export function chooseUpstreams({ host, resolved, known, backup }: UpstreamSources, own: readonly string[]): string[] {
  const others = (servers: readonly string[]): string[] =>
    servers.filter((address) => !own.includes(address) && !RESOLVED_STUBS.includes(address));
  const chosen = [host, resolved, known, backup].map(others).find((servers) => servers.length > 0);
  return [...new Set(chosen)];
}

export interface FollowOptions {
  readonly paths: ResolvConfPaths;
  readonly own: readonly string[];
  /** The file in which the servers survive that the host no longer names; absent = they do not survive a restart. */
  readonly knownFile?: string | undefined;
  readonly onChange: (upstreams: readonly Upstream[]) => void;
  readonly log: Pick<Logger, "warn">;
}

/** Calls `onChange` with the host's upstreams, at once and when they change, until the signal. */
export async function followHostUpstreams({ paths, own, knownFile, onChange, log }: FollowOptions, signal: AbortSignal): Promise<void> {
  const known = await openKnownUpstreams(knownFile);
  const keep = async (servers: readonly string[]): Promise<void> =>
    known
      .keep(servers)
      .catch((error: unknown) => log.warn({ file: knownFile, error: describeError(error) }, "cannot save which name servers the host had"));
  let seen: string | undefined;
  let held: string | undefined;
  while (!signal.aborted) {
    const changed = watchFiles(paths); // before reading, so that no change falls in between
    const now = `${await fingerprint(paths.host)} ${await fingerprint(paths.resolved)}`;
    if (now !== seen) {
      seen = now;
      const [host, resolved, backup] = await Promise.all([serversOf(paths.host), serversOf(paths.resolved), serversOf(paths.backup)]);
      const servers = chooseUpstreams({ host, resolved, known: known.servers, backup }, own);
      if (servers.join(" ") !== held) {
        held = servers.join(" ");
        onChange(servers.map((address) => ({ address, port: 53 })));
      }
      if (servers.length > 0) await keep(servers);
    } else await keep(known.servers); // the state folder may have been deleted
    await sleep(RECHECK_MS, undefined, { signal: AbortSignal.any([signal, changed.signal]), ref: false }).catch(() => undefined);
    changed.close();
  }
}

/** The signal is a sign of change in the folders of the files, which are replaced as a whole. Folders that are not there yet are found by the recheck. */
function watchFiles(paths: ResolvConfPaths): { readonly signal: AbortSignal; close(): void } {
  const changed = new AbortController();
  const watchers = [paths.host, paths.resolved].flatMap((path) => {
    try {
      const watcher = watch(dirname(path), { persistent: false }, (_event, file) => {
        if (file === null || file === basename(path)) changed.abort();
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

async function serversOf(path: string | undefined): Promise<string[]> {
  if (path === undefined) return [];
  return parseResolvConf(await readFile(path, "utf8").catch(() => ""));
}

async function fingerprint(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  return found ? `${found.dev}:${found.ino}:${found.size}:${found.mtimeMs}` : "none";
}
