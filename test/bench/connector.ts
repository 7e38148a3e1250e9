import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Where to connect to, and who must get it: a listener of the client's own (connect.pl says why). */
export interface Target {
  readonly address: string;
  readonly port: number;
  readonly serverAddress: string;
  readonly serverPort: number;
}

/** Of connect and reset, in µs. */
export interface Connected {
  readonly p50: number;
  readonly p99: number;
  readonly mean: number;
}

export interface Connector {
  /** So many connections to each, one after the other. */
  measure(targets: readonly Target[], count: number): Promise<readonly Connected[]>;
  close(): void;
}

export async function openConnector(): Promise<Connector> {
  const perl = ["perl", join(import.meta.dirname, "connect.pl")];
  // On one processor for good: moving to another costs more than what is measured.
  const [file = "", ...args] = availableParallelism() > 1 ? ["taskset", "--cpu-list", "1", ...perl] : perl;
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async measure(targets, count) {
      const results: Connected[] = [];
      for (const { address, port, serverAddress, serverPort } of targets) {
        child.stdin.write(`${address} ${port} ${serverAddress} ${serverPort} ${count}\n`);
        const { value: line, done } = await lines.next();
        if (done === true || line.startsWith("error")) throw new Error(`the connecting program: ${done === true ? "ended" : line}`);
        const [p50 = NaN, p99 = NaN, mean = NaN] = line.split(" ").map(Number);
        results.push({ p50, p99, mean });
      }
      return results;
    },
    close: () => child.stdin.end(),
  };
}
