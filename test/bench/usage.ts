import { readdir, readFile } from "node:fs/promises";

const TICKS_PER_S = 100; // USER_HZ, the unit of /proc/PID/stat on every Linux architecture that Node runs on

/** Processor time of a process and of the children that it has waited for, in ms (proc(5), fields 14 to 17). */
export async function cpuMs(pid: number): Promise<number> {
  return ticksMs(await readFile(`/proc/${pid}/stat`, "utf8"), 15);
}

/** Of each thread of a process, by its number. */
export async function threadsCpuMs(pid: number): Promise<ReadonlyMap<string, number>> {
  const threads = await readdir(`/proc/${pid}/task`);
  return new Map(
    await Promise.all(
      threads.map(async (thread) => [thread, ticksMs(await readFile(`/proc/${pid}/task/${thread}/stat`, "utf8"), 13)] as const),
    ),
  );
}

function ticksMs(stat: string, to: 13 | 15): number {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // the name may hold spaces; field 3 is the first after it
  const ticks = fields.slice(11, to).reduce((sum, field) => sum + Number(field), 0);
  return (ticks * 1000) / TICKS_PER_S;
}

/** Resident memory in MB (10^6 bytes). */
export async function rssMb(pid: number): Promise<number> {
  return memoryMb(pid, "VmRSS");
}

/** The most that it ever had. NaN when it has ended. */
export async function peakMb(pid: number): Promise<number> {
  return memoryMb(pid, "VmHWM").catch(() => NaN);
}

/** Processes that this one started and that run. */
export async function childrenOf(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text.split(" ").filter(Boolean).map(Number);
}

async function memoryMb(pid: number, field: string): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return (Number(new RegExp(String.raw`^${field}:\s+(\d+) kB$`, "m").exec(status)?.[1]) * 1024) / 1e6;
}
