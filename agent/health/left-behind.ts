import { readFile, readdir } from "node:fs/promises";

/** Finds what a command left running outside its process group, and ends it (docs/adr/0215). */

/** Whoever starts programs faster than we end them is not followed for ever. */
const ROUNDS = 5;
/** Numbers that are looked at one by one, rather than listing all that runs. */
const FEW = 64;

/** Kills every process that was started after `pid` and has `mark` in its environment. */
export async function killLeftBehind(pid: number, mark: string): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const found: number[] = [];
    for (const candidate of await startedAfter(pid)) if (await isMarked(candidate, mark)) found.push(candidate);
    if (found.length === 0) return;
    for (const one of found) kill(one);
  }
}

/** The kernel counts process numbers up, and begins again at the end. Mostly nothing was started since: then one small file is all that is read. */
async function startedAfter(pid: number): Promise<number[]> {
  const last = Number((await readFile("/proc/loadavg", "utf8")).trim().split(" ").at(-1));
  if (last >= pid && last - pid <= FEW) return Array.from({ length: last - pid }, (_, i) => pid + 1 + i);
  const all = (await readdir("/proc")).map(Number).filter(Number.isInteger);
  return all.filter((one) => (last >= pid ? one > pid && one <= last : one > pid || one <= last));
}

async function isMarked(pid: number, mark: string): Promise<boolean> {
  try {
    return (await readFile(`/proc/${pid}/environ`)).includes(mark);
  } catch {
    return false; // it has ended, or is another user's
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // ESRCH: it has ended
  }
}
