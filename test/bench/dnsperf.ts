import { execa } from "execa";

export interface Perf {
  readonly completed: number;
  readonly lost: number;
  readonly perSecond: number;
  /** Empty unless asked for. */
  readonly latenciesMs: readonly number[];
}

export interface PerfOptions {
  readonly port: number;
  /** Lines of `NAME TYPE`. */
  readonly file: string;
  readonly seconds: number;
  /** Absent = as fast as it goes, 100 at once. */
  readonly perSecond?: number;
  readonly latencies?: boolean;
  /** Absent = eight. */
  readonly clients?: number;
  /** The processors that it may use; absent = all. */
  readonly cpu?: string;
}

/** The load of Debian's dnsperf: clients from ports of their own. A query that is not answered in 2 s is lost. */
export async function dnsperf({ port, file, seconds, perSecond, latencies = false, clients = 8, cpu }: PerfOptions): Promise<Perf> {
  const line = [
    "dnsperf",
    "-s",
    "127.0.0.1",
    "-p",
    String(port),
    "-d",
    file,
    "-l",
    String(seconds),
    "-c",
    String(clients),
    "-q",
    "100",
    "-t",
    "2",
  ];
  if (perSecond !== undefined) line.push("-Q", String(perSecond));
  if (latencies) line.push("-v");
  const [command = "", ...args] = cpu === undefined ? line : ["taskset", "-c", cpu, ...line];
  const { stdout } = await execa(command, args, { maxBuffer: 200_000_000, timeout: (seconds + 30) * 1000 });
  const number = (label: string): number => Number(new RegExp(String.raw`${label}:\s+([\d.]+)`).exec(stdout)?.[1] ?? NaN);
  return {
    completed: number("Queries completed"),
    lost: number("Queries lost"),
    perSecond: number("Queries per second"),
    latenciesMs: Array.from(stdout.matchAll(/^> \S+ \S+ \S+ ([\d.]+)$/gm), ([, seconds]) => Number(seconds) * 1000),
  };
}
