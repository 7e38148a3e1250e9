import { watch } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseIp } from "#proto/ip.ts";
import type { Upstream } from "./upstream-udp.ts";

/** The host's list, and the one that systemd-resolved keeps of the servers it really asks. */
export interface ResolvConfPaths {
  readonly host: string;
  readonly resolved: string;
}
export const RESOLV_CONF: ResolvConfPaths = { host: "/etc/resolv.conf", resolved: "/run/systemd/resolve/resolv.conf" };

/** systemd-resolved's own listeners: asking them would ask whoever they ask, us included. */
const RESOLVED_STUBS = ["127.0.0.53", "127.0.0.54"];
const RECHECK_MS = 5000;

/** The servers of a resolv.conf (5), in order. */
export function parseResolvConf(text: string): string[] {
  return text.split("\n").flatMap((line) => {
    const address = /^\s*nameserver\s+(\S+)/.exec(line)?.[1];
    return address !== undefined && parseIp(address.replace(/%.*$/, "")) ? [address] : [];
  });
}

/** Never ourselves; the servers behind systemd-resolved where the host asks it (or only us). */
export function chooseUpstreams(host: readonly string[], resolved: readonly string[], own: readonly string[]): string[] {
  const others = (servers: readonly string[]): string[] =>
    servers.filter((address) => !own.includes(address) && !RESOLVED_STUBS.includes(address));
  const direct = others(host);
  return [...new Set(direct.length > 0 ? direct : others(resolved))];
}

/** Calls `onChange` with the host's upstreams, at once and when they change, until the signal. */
export async function followHostUpstreams(
  { paths, own, onChange }: { paths: ResolvConfPaths; own: readonly string[]; onChange: (upstreams: readonly Upstream[]) => void },
  signal: AbortSignal,
): Promise<void> {
  let seen: string | undefined;
  let held: string | undefined;
  while (!signal.aborted) {
    const changed = watchFiles(paths); // before reading, so that no change falls in between
    const now = `${await fingerprint(paths.host)} ${await fingerprint(paths.resolved)}`;
    if (now !== seen) {
      seen = now;
      const servers = chooseUpstreams(await serversOf(paths.host), await serversOf(paths.resolved), own);
      if (servers.join(" ") !== held) {
        held = servers.join(" ");
        onChange(servers.map((address) => ({ address, port: 53 })));
      }
    }
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

async function serversOf(path: string): Promise<string[]> {
  return parseResolvConf(await readFile(path, "utf8").catch(() => ""));
}

async function fingerprint(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  return found ? `${found.dev}:${found.ino}:${found.size}:${found.mtimeMs}` : "none";
}
