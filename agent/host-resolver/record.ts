import { mkdir, readFile, rm, rmdir, stat, writeFile, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";
import { RESOLVER_KINDS } from "./facts.ts";

/** What `fairlead dns install` has agreed with this host. It stands at a fixed place, which what runs at boot without us knows, too. */

export const RECORD_FOLDER = "/var/lib/fairlead/resolver";

export const ResolverRecord = z.object({
  kind: z.enum(RESOLVER_KINDS),
  /** The address that the host asks. */
  server: z.string(),
  domain: z.string(),
  /** Further domains, and reverse zones. */
  moreZones: z.array(z.string()).default([]),
  file: z
    .object({
      /** Where the original is kept. */
      backup: z.string(),
      /** And once more: what lies in /etc is easily tidied away. */
      copy: z.string().optional(),
      /** SHA-256 of what stood there, and of what we write. */
      original: z.string(),
      ours: z.string(),
      /** Which file it was, links followed. Records from before this was kept do not say. */
      real: z.string().optional(),
    })
    .optional(),
});
export type ResolverRecord = z.output<typeof ResolverRecord>;
export type FileRecord = NonNullable<ResolverRecord["file"]>;

/** What the host's list names, or would: resolvconf's entry is a loopback address. */
export function addressAsked({ kind, server }: Pick<ResolverRecord, "kind" | "server">): string {
  return kind === "resolvconf" ? HOST_LOCAL_ADDRESS : server;
}

export interface Records {
  read(): Promise<ResolverRecord | undefined>;
  write(record: ResolverRecord): Promise<void>;
  /** The record alone. */
  forget(): Promise<void>;
  /** With all that lies beside it. */
  remove(): Promise<void>;
  /** Where a copy of our own file lies, for what runs at boot. */
  readonly oursFile: string;
  readonly backupFile: string;
}

export function openRecords({ root = "/" }: { readonly root?: string | undefined } = {}): Records {
  const folder = join(root, RECORD_FOLDER);
  const path = join(folder, "record.json");
  const oursFile = join(folder, "resolv.conf.ours");
  const backupFile = join(folder, "resolv.conf.original");
  let cached: { readonly seen: string; readonly record: ResolverRecord | undefined } | undefined;
  return {
    oursFile,
    backupFile,
    async read() {
      const found = await stat(path).catch(() => undefined);
      if (!found) return undefined;
      const seen = `${found.ino}:${found.mtimeMs}:${found.size}`;
      if (cached?.seen !== seen) cached = { seen, record: parseRecord(await readFile(path, "utf8").catch(() => "")) };
      return cached.record;
    },
    async write(record) {
      await mkdir(folder, { recursive: true, mode: 0o755 });
      await writeFile(`${path}.new`, `${JSON.stringify(record, undefined, 2)}\n`, { flush: true });
      await rename(`${path}.new`, path);
    },
    forget: () => rm(path, { force: true }),
    async remove() {
      for (const file of [path, oursFile, backupFile]) await rm(file, { force: true });
      for (const empty of [folder, dirname(folder)]) await rmdir(empty).catch(() => undefined); // not empty: others' or the agent's
    },
  };
}

/** A damaged record is none: what it was about is found by looking. */
export function parseRecord(text: string): ResolverRecord | undefined {
  try {
    return ResolverRecord.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
