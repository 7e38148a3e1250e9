import { execa } from "execa";
import { readdir, readFile, readlink, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { waitFor } from "../wait-for.ts";

// What exists of a fleet is written down before the first piece is made, so that a later run can remove what a killed one left.
// /run/fairlead-fleet/NAME.json says whose it is, /run/fairlead-fleet/NAME/ holds its logs, /run/netns/NAME-* are its machines.
export const stateFolder = "/run/fairlead-fleet";
const netnsFolder = "/run/netns";

interface Owner {
  pid: number;
  startedAt: string; // in /proc's ticks: with the pid, one process and no later one of the same number
}

export async function claimFleet(name: string): Promise<void> {
  await writeOwner(name, { pid: process.pid, startedAt: (await startTime(process.pid)) ?? "" });
}

// From now on the fleet outlives this process; only removeFleet ends it.
export async function disownFleet(name: string): Promise<void> {
  await writeOwner(name, { pid: 0, startedAt: "kept" });
}

// kept: by whom asked for it to stay. running: its owner lives. orphaned: its owner was killed.
export type Standing = "none" | "kept" | "running" | "orphaned";

export async function standingOf(name: string): Promise<Standing> {
  const owner = await readOwner(name);
  if (!owner) return (await list(netnsFolder)).some((namespace) => namespace.startsWith(`${name}-`)) ? "orphaned" : "none";
  if (owner.pid === 0) return "kept";
  return (await startTime(owner.pid)) === owner.startedAt ? "running" : "orphaned";
}

export async function removeOrphanedFleets(): Promise<void> {
  for (const file of await list(stateFolder)) {
    const name = /^(\w+)\.json$/.exec(file)?.[1];
    if (name === undefined) continue;
    if ((await standingOf(name)) === "orphaned") await removeFleet(name);
  }
}

// Ends every process in the fleet's network namespaces, then deletes them. May be called again, for a half-made fleet, or by two at once.
export async function removeFleet(name: string): Promise<void> {
  const namespaces = (await list(netnsFolder)).filter((namespace) => namespace.startsWith(`${name}-`));
  await endProcesses(namespaces);
  if (namespaces.length > 0) {
    const input = namespaces.map((namespace) => `netns del ${namespace}\n`).join("");
    await execa("ip", ["-force", "-batch", "-"], { input, reject: false }); // somebody else may have been faster
  }
  await rm(join(stateFolder, name), { recursive: true, force: true });
  const left = (await list(netnsFolder)).filter((namespace) => namespaces.includes(namespace));
  if (left.length > 0) throw new Error(`could not delete the network namespaces ${left.join(", ")}: see ip netns del`);
  await rm(ownerFile(name), { force: true }); // last: until here another run would try again
}

// All processes whose network is one of these namespaces, whoever started them, by the namespaces' inodes.
export async function processesIn(namespaces: readonly string[]): Promise<number[]> {
  const inodes = await Promise.all(namespaces.map((namespace) => stat(join(netnsFolder, namespace)).catch(() => undefined)));
  const wanted = new Set(inodes.flatMap((found) => (found ? [`net:[${found.ino}]`] : [])));
  if (wanted.size === 0) return [];
  const pids = (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry)).map(Number);
  const networks = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/ns/net`).catch(() => "")));
  return pids.filter((pid, index) => pid !== process.pid && wanted.has(networks[index] ?? ""));
}

async function endProcesses(namespaces: readonly string[]): Promise<void> {
  for (const { signal, timeoutMs } of [
    { signal: "SIGTERM", timeoutMs: 3_000 },
    { signal: "SIGKILL", timeoutMs: 5_000 },
  ] as const) {
    const gone = async () => {
      const pids = await processesIn(namespaces);
      for (const pid of signal === "SIGKILL" ? pids : []) sendSignal(pid, signal); // again and again: against those that fork meanwhile
      return pids.length === 0;
    };
    for (const pid of await processesIn(namespaces)) sendSignal(pid, signal);
    const ended = await waitFor(gone, { what: `the processes in ${namespaces.join(", ")} to end`, timeoutMs }).catch((error: unknown) => {
      if (signal === "SIGKILL") throw error;
      return false;
    });
    if (ended) return;
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error; // it has just ended by itself
  }
}

const ownerFile = (name: string): string => join(stateFolder, `${name}.json`);

async function writeOwner(name: string, owner: Owner): Promise<void> {
  const draft = `${ownerFile(name)}.${process.pid}`;
  await writeFile(draft, JSON.stringify(owner));
  await rename(draft, ownerFile(name));
}

async function readOwner(name: string): Promise<Owner | undefined> {
  const text = await readFile(ownerFile(name), "utf8").catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Owner);
}

async function startTime(pid: number): Promise<string | undefined> {
  const line = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return line?.slice(line.lastIndexOf(")") + 2).split(" ")[19]; // field 22; the name before it may hold anything
}

async function list(folder: string): Promise<string[]> {
  return readdir(folder).catch(() => []);
}
