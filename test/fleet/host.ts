import { execa } from "execa";
import { mkdtemp } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Place } from "./addresses.ts";
import { type Program, startProgram } from "./program.ts";

export type IptablesKind = "nft" | "legacy";

export interface RunOptions {
  input?: string;
  env?: Record<string, string>;
  timeoutMs?: number; // 30 s unless said otherwise
  reject?: boolean; // false: an exit code other than 0 is an answer, not an error
}

export interface Ran {
  stdout: string;
  stderr: string;
  exitCode: number | undefined; // undefined: ended by a signal or the time limit
}

export interface SpawnOptions {
  env?: Record<string, string>;
  logFile?: string; // stdout and stderr; a file in the fleet's folder unless given
}

// A machine of the fleet: a host, a container or the outside client. Own network, hostname, /etc, /var/lib and /run; the rest is shared.
export interface Host {
  readonly name: string; // h1, h1c1, out
  readonly ip: string;
  readonly ip6: string;
  readonly netns: string; // its name in /run/netns
  readonly containers: readonly Host[];
  readonly enter: readonly string[]; // prefix of a command line that then runs inside, for people
  run(file: string, args?: readonly string[], options?: RunOptions): Promise<Ran>;
  spawn(file: string, args?: readonly string[], options?: SpawnOptions): Promise<Program>;
}

export interface HostFrame {
  name: string;
  netns: string;
  place: Place;
  containers: readonly Host[];
  logFolder: string;
}

// The namespaces live as long as the process that this starts (host-init.sh); the fleet's tear-down ends it.
export async function startHost(frame: HostFrame, kind: IptablesKind): Promise<Host> {
  const init = join(import.meta.dirname, "host-init.sh");
  const unshare = ["unshare", "--mount", "--uts", "--propagation", "slave", "sh", init, frame.name, kind];
  const folder = await mkdtemp(join(frame.logFolder, `${frame.name}-`));
  const holder = await startProgram("nsenter", [`--net=/run/netns/${frame.netns}`, ...unshare], {
    env: environment(),
    logFile: join(folder, "init.log"),
  });
  await holder.waitForLine(/^ready$/, { timeoutMs: 20_000 });
  return hostOf(frame, holder.pid, folder);
}

function hostOf(frame: HostFrame, holderPid: number, folder: string): Host {
  const enter = ["nsenter", `--target=${holderPid}`, "--net", "--mount", "--uts"];
  const inside = (file: string, args: readonly string[]) => [...enter.slice(1), "env", `--chdir=${process.cwd()}`, file, ...args];
  let spawned = 0;
  return {
    name: frame.name,
    ip: frame.place.ip,
    ip6: frame.place.ip6,
    netns: frame.netns,
    containers: frame.containers,
    enter,
    async run(file, args = [], { input, env, timeoutMs = 30_000, reject = true } = {}) {
      const options = { env: { ...environment(), ...env }, timeout: timeoutMs, reject, maxBuffer: 100_000_000 };
      const { stdout, stderr, exitCode } = await execa(
        "nsenter",
        inside(file, args),
        input === undefined ? { ...options, stdin: "ignore" } : { ...options, input },
      );
      return { stdout, stderr, exitCode };
    },
    spawn(file, args = [], { env, logFile = join(folder, `${++spawned}.log`) } = {}) {
      return startProgram("nsenter", inside(file, args), { env: { ...environment(), ...env }, logFile });
    },
  };
}

// `node` is the one that runs this; the network tools are found whoever started us.
function environment(): Record<string, string> {
  const path = [dirname(process.execPath), process.env["PATH"], "/usr/local/sbin", "/usr/sbin", "/sbin"];
  return { PATH: path.filter((folder) => folder).join(":") };
}
