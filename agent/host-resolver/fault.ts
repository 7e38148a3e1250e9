import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseResolvConf, RESOLV_CONF_BACKUP } from "#agent/dns/upstreams.ts";
import { AppError } from "#proto/error.ts";

/** The way back of who has made the host ask us by hand. It writes into the file, which may be a link, or a mount. */
export const RESOLV_CONF_UNDO = `sudo cp ${RESOLV_CONF_BACKUP} /etc/resolv.conf && sudo rm ${RESOLV_CONF_BACKUP}`;

export interface ResolvConfCheck {
  /** Our addresses, as far as they are known. */
  readonly own: readonly string[];
  /** Whom the host named before us. */
  readonly known: readonly string[];
  /** Whether `own` is complete: a host that has left its fleet does not know the fleet's addresses any more. */
  readonly isKnownHost: boolean;
  readonly root?: string | undefined;
}

/** What is wrong when the host's file still names us and we go: it was written by hand, so only the user changes it. Only looks. */
export async function resolvConfFault({ own, known, isKnownHost, root = "/" }: ResolvConfCheck): Promise<AppError | undefined> {
  const read = async (path: string): Promise<string[]> => parseResolvConf(await readFile(join(root, path), "utf8").catch(() => ""));
  const [servers, copied] = await Promise.all([read("etc/resolv.conf"), read(RESOLV_CONF_BACKUP)]);
  const before = copied.filter((server) => !own.includes(server));
  const isOurs = (server: string): boolean => own.includes(server) || (!isKnownHost && before.length > 0 && !before.includes(server));
  const ours = servers.filter(isOurs);
  if (ours.length === 0) return undefined;
  const lines = known.map((server) => `nameserver ${server}\\n`).join("");
  return new AppError("KernelRejected", `/etc/resolv.conf still names ${ours.join(", ")}, where nobody answers without the agent`, {
    hint:
      before.length > 0
        ? `put back what stood there: ${RESOLV_CONF_UNDO}`
        : known.length > 0
          ? `put back whom it named before: printf '${lines}' | sudo tee /etc/resolv.conf`
          : "put your network's own name servers there (`nameserver ADDRESS`); this host resolves no names until then",
  });
}
