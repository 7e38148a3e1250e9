import { setTimeout as sleep } from "node:timers/promises";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { isAgentHere } from "#agent/lock.ts";
import { hasBootHook, installBootHook, removeBootHook } from "./boot-hook.ts";
import type { ResolverFacts, ResolverKind } from "./facts.ts";
import { forgetOriginal, giveBackFile, giveBackWithoutRecord, namesUsByMark, saveOriginal, stateOfFile, takeFile } from "./file.ts";
import { applyLink, linkExists, removeLink, type LinkSettings } from "./link.ts";
import { isOldDropInThere, removeOldDropIn } from "./old-drop-in.ts";
import { addToResolvconf, installDnsmasq, removeDnsmasq, removeFromResolvconf } from "./others.ts";
import type { FileRecord, Records, ResolverRecord } from "./record.ts";

const AFTER_AGENTS_LOOK_MS = 500;

export interface HostResolverDeps {
  readonly tools: KernelTools;
  readonly records: Records;
}

export interface Install {
  readonly kind: ResolverKind;
  readonly facts: ResolverFacts;
  readonly settings: LinkSettings;
  /** Whether somebody answers where the host would ask. If not, it is only written down, and the agent does it when it answers. */
  readonly isAnswering: boolean;
}

/** Makes the host ask us, and writes down how, so that the agent keeps it and uninstall undoes it. Doing it again is harmless. */
export async function installResolver(
  { tools, records }: HostResolverDeps,
  { kind, facts, settings, isAnswering }: Install,
): Promise<ResolverRecord> {
  const before = await records.read();
  if (before && before.kind !== kind) await uninstallResolver({ tools, records });
  await removeOldDropIn({ tools });
  const record: ResolverRecord = { kind, ...settings, moreZones: [...settings.moreZones] };
  if (kind === "file") {
    const file = (await fileAlreadySaved(before, settings.server)) ?? (await saveOriginal({ records }, settings.server));
    record.file = file;
    if (facts.hasSystemd) await installBootHook({ tools }, { oursFile: records.oursFile, backup: file.backup, copy: records.backupFile });
  }
  // First the record: whatever happens from here on can be undone by it.
  await records.write(record);
  if (!isAnswering && kind !== "dnsmasq") return record; // dnsmasq asks us for our names alone, and reads its file at each start
  try {
    await askUs(record, { tools, records }, facts);
  } catch (error) {
    if (!before) await uninstallResolver({ tools, records });
    throw error;
  }
  return record;
}

/** What stands there is ours already, or what we have saved. */
async function fileAlreadySaved(before: ResolverRecord | undefined, server: string): Promise<FileRecord | undefined> {
  if (before?.server !== server || before.file === undefined) return undefined;
  return ["ours", "original"].includes(await stateOfFile({}, before)) ? before.file : undefined;
}

async function askUs(
  record: ResolverRecord,
  { tools }: HostResolverDeps,
  { resolvconf = "debian", resolvConf }: ResolverFacts,
): Promise<void> {
  switch (record.kind) {
    case "resolved":
      await applyLink(record, tools);
      return;
    case "dnsmasq":
      return installDnsmasq({ tools }, record);
    case "resolvconf":
      return addToResolvconf(tools, resolvconf, resolvConf.text);
    case "file":
      return takeFile({}, record);
  }
}

/** Undoes it, and returns what went, or would go. Finds by looking what a damaged record does not say. */
export async function uninstallResolver(
  { tools, records }: HostResolverDeps,
  { dryRun = false }: { readonly dryRun?: boolean } = {},
): Promise<readonly string[]> {
  const record = await records.read();
  const found = await whatIsThere(record);
  if (!dryRun && found.length > 0) await undo(record, { tools, records });
  return found;
}

/** The record goes first: an agent that runs keeps what it says. A look of the agent that had begun by then ends before ours is repeated. */
async function undo(record: ResolverRecord | undefined, { tools, records }: HostResolverDeps): Promise<void> {
  await records.forget();
  try {
    if (record === undefined) await giveBackWithoutRecord({ records });
    await giveBack(record, tools);
    if (record && (await isAgentHere())) {
      await sleep(AFTER_AGENTS_LOOK_MS);
      await giveBack(record, tools);
    }
  } catch (error) {
    if (record) await records.write(record); // it says how to try again
    throw error;
  }
  if (record) await forgetOriginal(record);
  await removeBootHook({ tools });
  await removeOldDropIn({ tools });
  await removeDnsmasq({ tools });
  if (record?.kind === "resolvconf") await removeFromResolvconf(tools);
  await records.remove();
}

async function giveBack(record: ResolverRecord | undefined, tools: KernelTools): Promise<void> {
  if (record) await giveBackFile({}, record);
  await removeLink(tools);
}

async function whatIsThere(record: ResolverRecord | undefined): Promise<string[]> {
  const isFileOurs = record ? ["ours", "names us"].includes(await stateOfFile({}, record)) : await namesUsByMark();
  return [
    ...(record ? [`the record that this host asks the agent (by ${WORDS[record.kind]})`] : []),
    ...(isFileOurs ? ["our text of /etc/resolv.conf, for what stood there before"] : []),
    ...((await hasBootHook()) ? ["the unit that gives a boot its own resolv.conf"] : []),
    ...((await linkExists()) ? ["systemd-resolved's link fairlead-dns"] : []),
    ...((await isOldDropInThere()) ? ["drop-in of systemd-resolved"] : []),
    ...(record?.kind === "dnsmasq" ? ["drop-in of NetworkManager's dnsmasq"] : []),
    ...(record?.kind === "resolvconf" ? ["entry of resolvconf"] : []),
  ];
}

export const WORDS: Readonly<Record<ResolverKind, string>> = {
  resolved: "a link of systemd-resolved",
  dnsmasq: "NetworkManager's dnsmasq",
  resolvconf: "resolvconf",
  file: "/etc/resolv.conf",
};
