import { mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { layOutOwn } from "#tools/package/program-files.ts";
import { createFleet, type Host, type Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import type { Bench } from "./bench.ts";
import { root, startAgent, startJoined, startServer } from "./server.ts";
import { cpuMs, rssMb } from "./usage.ts";

const SERVICES = 1_000;
/** Compiled code is on disk by then (tools/compile-cache.js writes it after 30 s): the first start from a checkout holds the compiler, all later ones do not. */
const FIRST_START_MS = 35_000;
/** Garbage of the start has gone by then. */
const SETTLE_MS = 35_000;
const IDLE_S = 40;

/**
 * What server and agent take on a small machine where nothing happens: 1,000 services with two endpoints each. They run as a package installs them
 * (docs/adr/0333), and beforehand the agent once from the checkout. The figures of kube-proxy and CoreDNS
 * stand beside, as they were measured on such a machine (docs/adr/0012): they cannot be run here.
 */
export const footprint: Bench = {
  name: "footprint",
  about: `memory with ${SERVICES} services × 2, processor time and disk writes of ${IDLE_S} s in which nothing happens`,
  async run(say, { rounds = IDLE_S }) {
    const folder = await mkdtemp(join(tmpdir(), "fairlead-bench-"));
    const kubeconfig = join(folder, "admin.yaml");
    await using fleet = await createFleet({ hosts: 2 });
    try {
      const [home, client] = fleet.hosts;
      const small = { FAIRLEAD_MEMORY: "small" }; // as the launcher chooses where there are 2 GB or less
      const installed = await install(join(folder, "opt"));
      let server = await startServer(home, kubeconfig, small, installed);
      say(`${SERVICES} services into the server`);
      const seed = ["--kubeconfig", kubeconfig, "--services", String(SERVICES), "--real", `${home.ip}:9001`];
      await home.run(process.execPath, [join(root, "test/bench/seed.ts"), ...seed], { timeoutMs: 300_000 });
      let agent = await startAgent(client, { server: home, kubeconfig }, small);
      await untilReady(client);
      say("the agent from the checkout, and the server that has taken all in");
      await until(FIRST_START_MS);
      const first = { agent: await rssMb(agent.pid), server: await rssMb(server.pid) };
      await Promise.all([server.stop(), agent.stop()]);
      server = await startServer(home, kubeconfig, small, installed);
      agent = await startJoined(client, small, installed);
      await untilReady(client);
      say("both as installed");
      await until(SETTLE_MS);
      say(`${rounds} s in which nothing happens`);
      const before = await Promise.all([lookAt(server), lookAt(agent)]);
      const start = performance.now();
      await until(rounds * 1000);
      const seconds = (performance.now() - start) / 1000;
      const after = await Promise.all([lookAt(server), lookAt(agent)]);
      const share = (index: 0 | 1): number => (after[index].cpuMs - before[index].cpuMs) / (10 * seconds);
      return {
        agent_rss_1000_mb: await rssMb(agent.pid),
        server_rss_1000_mb: await rssMb(server.pid),
        agent_from_checkout_mb: first.agent,
        server_after_writes_mb: first.server,
        agent_private_mb: await privateMb(agent.pid),
        server_private_mb: await privateMb(server.pid),
        agent_idle_cpu_percent: share(1),
        server_idle_cpu_percent: share(0),
        idle_disk_writes: after[0].writtenBytes + after[1].writtenBytes - before[0].writtenBytes - before[1].writtenBytes,
        kube_proxy_nftables_rss_1000_mb: 76,
        kube_proxy_iptables_rss_1000_mb: 78,
        kube_proxy_idle_cpu_percent: 0.05,
        kube_apiserver_idle_cpu_percent: 2,
      };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** As a package does, but for the libraries, which are the checkout's. Returns the launcher. */
async function install(into: string): Promise<string> {
  await layOutOwn(into);
  await symlink(join(root, "node_modules"), join(into, "node_modules"));
  return join(into, "fairlead");
}

async function untilReady(host: Host): Promise<void> {
  await waitFor(async () => (await host.run("curl", ["-sf", "http://127.0.0.1:10256/readyz"], { reject: false })).exitCode === 0, {
    what: "the agent to have programmed",
    timeoutMs: 60_000,
  });
}

async function until(ms: number): Promise<void> {
  const end = performance.now() + ms;
  await waitFor(() => performance.now() >= end, { what: "time to pass", timeoutMs: ms + 10_000, intervalMs: 500 });
}

async function lookAt({ pid }: Program): Promise<{ readonly cpuMs: number; readonly writtenBytes: number }> {
  const io = await readFile(`/proc/${pid}/io`, "utf8");
  return { cpuMs: await cpuMs(pid), writtenBytes: Number(/^write_bytes: (\d+)$/m.exec(io)?.[1]) };
}

/** Without the pages of the binary and of libraries, which processes of one kind share. */
async function privateMb(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  const kb = ["Private_Clean", "Private_Dirty"].map((field) => Number(new RegExp(`^${field}: +(\\d+) kB$`, "m").exec(rollup)?.[1]));
  return (kb.reduce((sum, one) => sum + one, 0) * 1024) / 1e6;
}
