import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { writePrivateFile } from "#agent/private-file.ts";
import { isServer } from "./server-address.ts";

/** The servers that the host's files named last: a host that asks only us names nobody any more whom we could ask. */
export interface KnownUpstreams {
  readonly servers: readonly string[];
  /** Replaces them, and writes the file where it does not say so yet (it may have been deleted). */
  keep(servers: readonly string[]): Promise<void>;
}

const MAX_SERVERS = 16;

/** Without a file, they are known until the end of the process. */
export async function openKnownUpstreams(file?: string): Promise<KnownUpstreams> {
  let servers: readonly string[] = file === undefined ? [] : await readKnownUpstreams(file);
  return {
    get servers() {
      return servers;
    },
    async keep(wanted) {
      const next = wanted.slice(0, MAX_SERVERS);
      const isSame = next.join(" ") === servers.join(" ");
      servers = next;
      if (file === undefined || (isSame && (next.length === 0 || (await isThere(file))))) return;
      await mkdir(dirname(file), { recursive: true, mode: 0o700 });
      await writePrivateFile(file, `${JSON.stringify(next)}\n`);
    },
  };
}

/** A file that is not there or damaged knows nobody. */
export async function readKnownUpstreams(file: string): Promise<readonly string[]> {
  try {
    return serversIn(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return [];
  }
}

function isThere(file: string): Promise<boolean> {
  return stat(file).then(
    () => true,
    () => false,
  );
}

/** By hand: nothing else of the DNS threads' side needs zod, which is 14 MB in a process. */
function serversIn(saved: unknown): readonly string[] {
  if (!Array.isArray(saved) || saved.length > MAX_SERVERS) return [];
  const servers = saved.flatMap((one: unknown) => (typeof one === "string" && isServer(one) ? [one] : []));
  return servers.length === saved.length ? servers : [];
}
