import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFleet, type Host, type Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { percentile, type Bench } from "./bench.ts";
import { fairlead, root, startAgent, startServer } from "./server.ts";
import { cpuMs } from "./usage.ts";

/**
 * From the API's answer to a change of a workload until the first new connection reaches it through the virtual IP: on one host, and on the last
 * of 20 whose agents share the machine. The yardstick in the same run: the same connection without Fairlead in between (direct_ms).
 */
export const propagation: Bench = {
  name: "propagation",
  about: "change of a workload → first new connection through the virtual IP, one agent and 20 agents, 10 and 1,000 services",
  async run(say) {
    const figures: Record<string, number> = {};
    for (const agents of [1, 20]) {
      for (const services of [10, 1000]) {
        const { live, agentCpuMs, serverCpuMs } = await measure({ agents, services, rounds: agents === 1 ? 200 : 100 }, say);
        const suffix = services === 1000 ? "" : `_${services}_services`; // the larger one is the figure
        const plural = agents === 1 ? "agent" : "agents";
        figures[`live_${agents}_${plural}${suffix}_p50_ms`] = percentile(live, 0.5);
        figures[`live_${agents}_${plural}${suffix}_p99_ms`] = percentile(live, 0.99);
        figures[`agent_cpu_${agents}_${plural}${suffix}_ms`] = agentCpuMs;
        figures[`server_cpu_${agents}_${plural}${suffix}_ms`] = serverCpuMs;
      }
    }
    return figures;
  },
};

interface Measured {
  readonly live: number[];
  /** Processor time of one agent, with the tools that it starts, for one change. */
  readonly agentCpuMs: number;
  readonly serverCpuMs: number;
}

interface Setting {
  readonly agents: number;
  readonly services: number;
  readonly rounds: number;
}

async function measure({ agents, services, rounds }: Setting, say: (text: string) => void): Promise<Measured> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-bench-"));
  const kubeconfig = join(folder, "admin.yaml");
  const control = join(folder, "control.sock");
  await using fleet = await createFleet({ hosts: agents + 1 });
  try {
    const [home, ...clients] = fleet.hosts;
    if (!home) throw new Error("a fleet without hosts");
    const server = await startServer(home, kubeconfig);
    const programs: Program[] = [];
    for (const host of fleet.hosts) programs.push(await startAgent(host, { server: home, kubeconfig }));
    const agentsCpuMs = async (): Promise<number> =>
      (await Promise.all(programs.map(({ pid }) => cpuMs(pid)))).reduce((sum, ms) => sum + ms, 0);
    const cli = (...args: string[]) => home.run(fairlead, ["--kubeconfig", kubeconfig, ...args], { timeoutMs: 120_000 });
    say(`${agents} agents, ${services} services`);
    const greeter = await home.spawn(process.execPath, [
      join(root, "test/bench/greeter.ts"),
      "--listen",
      `${home.ip}:9001=a`,
      "--listen",
      `${home.ip}:9002=b`,
    ]);
    await greeter.waitForLine(/9002=b/);
    await cli("register", "mover", "--node", home.name, "--label", "app=mover", "--port", "tcp=9001");
    await home.run(fairlead, ["--kubeconfig", kubeconfig, "apply", "-f", "-", "--wait", "--timeout", "60s"], {
      input: manifest(services),
      timeoutMs: 120_000,
    });
    const { stdout: address } = await cli("get", "service", "mover", "-o", "json");
    const { spec } = JSON.parse(address) as { spec: { clusterIP: string } }; // a Service from our own server
    const [agentsBefore, serverBefore] = [await agentsCpuMs(), await cpuMs(server.pid)];
    const { live_ms: live } = await drive({ home, clients, kubeconfig, control, rounds, address: spec.clusterIP });
    const measured = {
      live,
      agentCpuMs: ((await agentsCpuMs()) - agentsBefore) / rounds / programs.length,
      serverCpuMs: ((await cpuMs(server.pid)) - serverBefore) / rounds,
    };
    await server.stop();
    return measured;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function manifest(services: number): string {
  const one = (name: string, port: number): object => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: { selector: { app: "mover" }, ports: [{ port, targetPort: "tcp" }] },
  });
  // The others have no endpoints of their own that change: they are what else there is.
  const others = Array.from({ length: services - 1 }, (_, i) => ({
    ...one(`other-${i}`, 80),
    spec: { selector: { app: `other-${i}` }, ports: [{ port: 80 }] },
  }));
  return JSON.stringify({ apiVersion: "v1", kind: "List", items: [one("mover", 80), ...others] });
}

interface Drive {
  readonly home: Host;
  readonly clients: readonly Host[];
  readonly kubeconfig: string;
  readonly control: string;
  readonly rounds: number;
  readonly address: string;
}

async function drive({ home, clients, kubeconfig, control, rounds, address }: Drive): Promise<{ live_ms: number[] }> {
  const options = [
    "--kubeconfig",
    kubeconfig,
    "--control",
    control,
    "--probers",
    String(clients.length),
    "--rounds",
    String(rounds),
    "--address",
    address,
  ];
  const driver = await home.spawn(process.execPath, [
    join(root, "test/bench/propagation-driver.ts"),
    ...options,
    "--ports",
    "9002=b,9001=a",
  ]);
  await waitFor(async () => (await home.run("test", ["-S", control], { reject: false })).exitCode === 0, {
    what: "the driver",
    timeoutMs: 20_000,
  });
  // A prober that never rests would take the processor from the agents whose speed it measures.
  const pauseMs = clients.length > 1 ? "12" : "0";
  for (const host of clients)
    await host.spawn(process.execPath, [
      join(root, "test/bench/prober.ts"),
      "--control",
      control,
      "--name",
      host.name,
      "--pause-ms",
      pauseMs,
    ]);
  const [line] = await driver.waitForLine(/^\{"live_ms".*$/, { timeoutMs: 300_000 });
  await driver.ended;
  return JSON.parse(line) as { live_ms: number[] }; // from our own driver
}
