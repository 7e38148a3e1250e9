import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encodeQuestion } from "#agent/dns/encode-question.ts";
import { keyOfName, wireOfKey } from "#agent/dns/name.ts";
import { askUdp } from "../dns/client.ts";
import { waitFor } from "../wait-for.ts";
import { dnsAddressOf, dnsNameOf } from "./dns-zone.ts";

/** A name server under measurement. */
export interface Served extends AsyncDisposable {
  readonly pid: number;
  readonly port: number;
  say(line: string): void;
}

/** As the launcher starts the agent: memory is V8's to waste otherwise. */
const OURS = ["--max-semi-space-size=4", "--heap-growing-percent=30"];

export async function startOurs(port: number, args: readonly string[], env: NodeJS.ProcessEnv, cpu?: string): Promise<Served> {
  const line = [process.execPath, ...OURS, join(import.meta.dirname, "dns-server.ts"), "--port", String(port), ...args];
  return started(cpu === undefined ? line : ["taskset", "-c", cpu, ...line], port, {
    ...env,
    MALLOC_ARENA_MAX: "2",
    MALLOC_TRIM_THRESHOLD_: "131072",
    MALLOC_MMAP_THRESHOLD_: "32768",
  });
}

export async function startDnsmasq(port: number, hosts: string, upstream: number | undefined, cpu: string): Promise<Served> {
  const base = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file="];
  const place = [`--port=${port}`, "--listen-address=127.0.0.1", "--bind-interfaces", `--addn-hosts=${hosts}`, "--local=/cluster.local/"];
  const more = upstream === undefined ? [] : [`--server=127.0.0.1#${upstream}`, "--cache-size=0", "--dns-forward-max=1000"];
  return started(["taskset", "-c", cpu, ...base, ...place, ...more], port, process.env);
}

/** Answers the services, and any name below up.test with a TTL of 0, which nobody keeps. */
export async function startUnbound(port: number, folder: string, services: number, cpu: string): Promise<Served> {
  const local = Array.from({ length: services }, (_, i) => `  local-data: "${dnsNameOf(i)}. 5 A ${dnsAddressOf(i)}"`);
  const config = [
    "server:",
    `  interface: 127.0.0.1@${port}`,
    '  do-daemonize: no\n  username: ""\n  chroot: ""\n  pidfile: ""\n  use-syslog: no\n  verbosity: 0\n  module-config: "iterator"',
    "  access-control: 127.0.0.0/8 allow\n  so-reuseport: no\n  num-threads: 1",
    '  local-zone: "cluster.local." static',
    '  local-zone: "up.test." redirect\n  local-data: "up.test. 0 A 192.0.2.1"',
    ...local,
    "remote-control:\n  control-enable: no\n",
  ].join("\n");
  const file = join(folder, `unbound-${port}.conf`);
  await writeFile(file, config);
  return started(["taskset", "-c", cpu, "unbound", "-d", "-c", file], port, process.env);
}

async function started([command = "", ...args]: readonly string[], port: number, env: NodeJS.ProcessEnv): Promise<Served> {
  const child = spawn(command, args, { stdio: ["pipe", "ignore", "inherit"], env });
  await waitFor(() => answers(port, child), { what: `${command} ${args[2]} to answer at ${port}`, timeoutMs: 60_000 });
  return {
    pid: child.pid ?? 0,
    port,
    say: (line) => child.stdin.write(`${line}\n`),
    async [Symbol.asyncDispose]() {
      const ended = once(child, "exit");
      // Ours ends with its input, and leaves its compiled code behind: the next start is one as they are on a host.
      child.stdin.end();
      setTimeout(() => child.kill(), child.spawnargs.includes(process.execPath) ? 3000 : 0).unref();
      if (child.exitCode === null && child.signalCode === null) await ended;
    },
  };
}

const FIRST = encodeQuestion({ name: wireOfKey(keyOfName(dnsNameOf(0)) ?? ""), type: 1, id: 1 });

/** The first service is there. */
export async function answers(port: number, child: Pick<ChildProcess, "exitCode">): Promise<boolean> {
  if (child.exitCode !== null) throw new Error(`the name server at ${port} ended with ${child.exitCode}`);
  const reply = await askUdp({ address: "127.0.0.1", port }, FIRST, 100);
  return reply !== undefined && reply.readUInt16BE(6) === 1;
}
