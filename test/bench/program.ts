import { execa } from "execa";
import { join } from "node:path";
import { runInUml } from "../fleet/uml.ts";
import type { Mode } from "./modes.ts";

/** What the programs of a bench are told; they print one line of JSON. */
export interface ProgramOptions {
  readonly mode: Mode;
  readonly [option: string]: string | number;
}

const root = join(import.meta.dirname, "../..");

/** Runs a program of this folder where its mode can run: on this kernel, or in User-Mode Linux, which has IPVS. */
export async function runProgram<T>(name: string, options: ProgramOptions, { timeoutMs }: { readonly timeoutMs: number }): Promise<T> {
  const args = [join(import.meta.dirname, name), ...Object.entries(options).flatMap(([option, value]) => [`--${option}`, String(value)])];
  const { stdout } =
    options.mode === "ipvs"
      ? await inUml(args, timeoutMs)
      : await execa(process.execPath, args, { cwd: root, timeout: timeoutMs, stderr: "inherit", maxBuffer: 100_000_000 });
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as T; // from our own program
}

async function inUml(args: readonly string[], timeoutMs: number): Promise<{ readonly stdout: string }> {
  const ran = await runInUml({ command: process.execPath, args, cwd: root, timeoutMs, memory: "2G" });
  if (ran.exitCode !== 0) throw new Error(`${args.join(" ")} in User-Mode Linux ended with ${ran.exitCode}: ${ran.stderr.slice(-3_000)}`);
  return ran;
}

/** In seconds: a program in User-Mode Linux starts processes 15 times slower. */
export function limitMs(mode: Mode, seconds: number): number {
  return seconds * 1000 * (mode === "ipvs" ? 15 : 1);
}
