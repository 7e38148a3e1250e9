import { spawnSync } from "node:child_process";

/** A bench that measures kernels says at once what it lacks, before it has begun anything. */
export function requireTools(programs: readonly string[]): void {
  if (process.getuid?.() !== 0) throw new Error("this bench makes network namespaces: run it as root");
  const missing = programs.filter((program) => spawnSync("sh", ["-c", 'command -v "$1"', "sh", program]).status !== 0);
  if (missing.length > 0)
    throw new Error(`not installed, or not in the PATH: ${missing.join(", ")}; sh tools/setup.sh packages installs what the tests need`);
}

/** The client of `connect`; perl-base alone has no clock that is fine enough. */
export function requirePerl(): void {
  if (spawnSync("perl", ["-MTime::HiRes", "-MSocket", "-e", "1"]).status !== 0)
    throw new Error("perl with Time::HiRes and Socket is not installed: apt-get install perl");
}
