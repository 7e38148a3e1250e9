import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, realpath } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";

/**
 * Runs one command in a kernel of its own: User-Mode Linux (Debian's user-mode-linux), because the machine's may lack IPVS. The command finds this
 * machine's file tree, with every change in memory and gone at the end, except below the writable folders; it is root, has one CPU, loopback and no
 * network out. Spawning is 15 times slower in there: start one program that does everything, and multiply time limits by 10.
 * The guest lives in namespaces of its own: when it ends, or we do, in whatever way, nothing is left of it.
 */

export interface UmlOptions {
  readonly command: string;
  readonly args?: readonly string[];
  readonly timeoutMs: number;
  /** Folders of this machine in which what is written stays. */
  readonly writable?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** process.cwd() unless said otherwise. */
  readonly cwd?: string;
  readonly memory?: string;
  readonly signal?: AbortSignal;
}

export interface UmlResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** An empty folder of the machine; each guest puts a file system of its own over it, which only it sees. */
const FOLDER = "/run/fairlead-uml";
const MAX_OUTPUT = 64 * 1024 * 1024;
const KERNEL_LOG = 20_000;

export async function runInUml(options: UmlOptions): Promise<UmlResult> {
  if (process.getuid?.() !== 0) throw new Error("User-Mode Linux is started in namespaces of its own: that takes root");
  await mkdir(FOLDER, { recursive: true });
  const guest = startGuest(options.memory ?? "1G");
  const streams: readonly unknown[] = guest.stdio;
  const output = { stdout: collect(streams[3], MAX_OUTPUT), stderr: collect(streams[4], MAX_OUTPUT) };
  const exitCode = collect(streams[5], 100);
  const kernel = [1, 2, 6].map((fd) => collect(streams[fd], KERNEL_LOG));
  const limit = AbortSignal.timeout(options.timeoutMs);
  const stop = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  const ended = endOf(guest, stop);
  guest.stdin?.on("error", () => undefined); // it ended before it read the plan: what it said is reported below
  guest.stdin?.end(planOf({ ...options, writable: await Promise.all((options.writable ?? []).map((folder) => realpath(folder))) }));
  await ended;
  const code = /^(\d+)\s*$/.exec(exitCode.text())?.[1];
  const [stdout, stderr] = [output.stdout.text(), output.stderr.text()];
  if (code !== undefined) return { stdout, stderr, exitCode: Number(code) };
  options.signal?.throwIfAborted();
  const why = limit.aborted ? `did not end within ${options.timeoutMs} ms` : "was ended by the death of its kernel";
  const said = [...kernel.map((stream) => stream.text()), stdout, stderr].map((text) => text.slice(-3_000)).join("\n");
  throw new Error(`${[options.command, ...(options.args ?? [])].join(" ")} in User-Mode Linux ${why}: ${said}`);
}

/**
 * fd 0: the plan; 1, 2: words of User-Mode Linux itself; 3, 4: stdout and stderr of the command; 5: its exit code; 6: the guest's kernel log.
 * The guest's memory is a file that is mapped executable: on a tmpfs of its own, because /dev/shm may be small or noexec.
 */
function startGuest(memory: string): ChildProcess {
  const uml = ["linux.uml", `mem=${memory}`, "rootfstype=hostfs", "rootflags=/", "ro", `init=${join(import.meta.dirname, "uml-init.sh")}`];
  const lines = ["con=null", "con0=null,fd:6", "ssl=null", "ssl0=null,fd:3", "ssl1=null,fd:4", "ssl2=null,fd:5"];
  const settings = [`uml_dir=${FOLDER}/`, "umid=guest", "loglevel=4", "panic=-1", "oops=panic", "random.trust_bootloader=on"];
  // The shell stays process 1: a kernel that panics ends by abort(), which a process 1 would ignore.
  const script = 'mount -t tmpfs -o size=64g,mode=700 fairlead-uml "$1" && cat >"$1/plan" && shift && "$@" </dev/null; exit $?';
  const inside = ["sh", "-c", script, "sh", FOLDER, ...uml, ...lines, ...settings];
  const own = ["unshare", "--pid", "--net", "--mount", "--fork", "--kill-child=KILL", ...inside];
  return spawn("setpriv", ["--pdeathsig", "KILL", "setsid", ...own], {
    env: { PATH: searchPath(), TMPDIR: FOLDER },
    stdio: ["pipe", "pipe", "pipe", "pipe", "pipe", "pipe", "pipe"],
  });
}

/** Words that end in NUL, as uml-init.sh reads them: the counts of what follows first. */
function planOf({ command, args = [], writable = [], env = {}, cwd = process.cwd() }: UmlOptions): string {
  const variables = Object.entries({ HOME: "/root", PATH: searchPath(), ...env }).map(([name, value]) => `${name}=${value}`);
  return [String(writable.length), String(variables.length), ...writable, ...variables, cwd, command, ...args]
    .map((word) => `${word}\0`)
    .join("");
}

/** `node` is the one that runs this. */
function searchPath(): string {
  return [dirname(process.execPath), process.env["PATH"], "/usr/local/sbin", "/usr/sbin", "/sbin"].filter((folder) => folder).join(":");
}

async function endOf(guest: ChildProcess, stop: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const kill = (): void => void guest.kill("SIGKILL");
  guest.once("error", reject);
  guest.once("close", () => resolve(undefined));
  if (stop.aborted) kill();
  stop.addEventListener("abort", kill, { once: true });
  try {
    await promise;
  } finally {
    stop.removeEventListener("abort", kill);
  }
}

/** The last `limit` bytes of a stream. */
function collect(stream: unknown, limit: number): { text(): string } {
  const chunks: Buffer[] = [];
  let size = 0;
  (stream as Readable).on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    size += chunk.length;
    while (size - (chunks[0]?.length ?? size) > limit) size -= chunks.shift()?.length ?? 0;
  });
  return { text: () => Buffer.concat(chunks).toString("utf8") };
}
