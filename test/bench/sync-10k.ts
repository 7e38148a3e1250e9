import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { percentile, type Bench } from "./bench.ts";
import { root, startAgent, startServer } from "./server.ts";
import { cpuMs, rssMb } from "./usage.ts";

const SERVICES = 10_000;
const ROUNDS = 60;
const BARE_ROUNDS = 30;
/** A first packet that comes before the rules goes nowhere, and would be sent again after a second only. */
const PROBE_MS = 150;

/**
 * An agent that starts against 10,000 services with two endpoints each, then changes of one endpoint; next to a bare iptables-restore of the
 * same rules on a host without an agent.
 */
export const sync10k: Bench = {
  name: "sync-10k",
  about: "full program of 10,000 services × 2 endpoints, then one endpoint change; next to a bare iptables-restore of the same text",
  async run(say) {
    const folder = await mkdtemp(join(tmpdir(), "fairlead-bench-"));
    const kubeconfig = join(folder, "admin.yaml");
    await using fleet = await createFleet({ hosts: 3 });
    try {
      const [home, client, bare] = fleet.hosts;
      const server = await startServer(home, kubeconfig);
      const ports = [9001, 9002].map((port, i) => `${home.ip}:${port}=${"ab"[i] ?? ""}`);
      const greeter = await home.spawn(process.execPath, [
        join(root, "test/bench/greeter.ts"),
        ...ports.flatMap((one) => ["--listen", one]),
      ]);
      await greeter.waitForLine(/9002=b/);
      say(`${SERVICES} services into the server`);
      const seeded = await home.run(
        process.execPath,
        [join(root, "test/bench/seed.ts"), "--kubeconfig", kubeconfig, "--services", String(SERVICES), "--real", `${home.ip}:9001`],
        {
          timeoutMs: 300_000,
        },
      );
      const { address } = JSON.parse(seeded.stdout) as { address: string }; // from our own program

      say("an agent starts");
      const start = performance.now();
      const agent = await startAgent(client, { server: home, kubeconfig });
      const joinedMs = performance.now() - start;
      await waitFor(() => answers(client, address), { what: "the services to be live", timeoutMs: 120_000, intervalMs: 20 });
      const fullMs = performance.now() - start - joinedMs;
      const fullCpuMs = await cpuMs(agent.pid);

      say(`${ROUNDS} changes of one endpoint`);
      const change = await changes({ home, client, kubeconfig, folder, address });
      const changeCpuMs = ((await cpuMs(agent.pid)) - fullCpuMs) / ROUNDS;

      say("bare iptables-restore of the same rules");
      const yardstick = await bareRestore(client, bare, { folder, address });
      return {
        full_s: fullMs / 1000,
        full_bare_s: yardstick.fullMs / 1000,
        full_cpu_s: fullCpuMs / 1000,
        change_p50_ms: percentile(change, 0.5),
        change_p99_ms: percentile(change, 0.99),
        change_cpu_ms: changeCpuMs,
        change_bare_ms: percentile(yardstick.changeMs, 0.5),
        agent_rss_mb: await rssMb(agent.pid),
        server_rss_mb: await rssMb(server.pid),
      };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

async function answers(client: Host, address: string): Promise<boolean> {
  const { exitCode } = await client.run("bash", ["-c", 'exec 3<>"/dev/tcp/$1/80" && read -r -t 1 <&3', "bash", address], {
    reject: false,
    timeoutMs: PROBE_MS,
  });
  return exitCode === 0;
}

interface Changing {
  readonly home: Host;
  readonly client: Host;
  readonly kubeconfig: string;
  readonly folder: string;
  readonly address: string;
}

/** From the API's answer until a new connection reaches the changed endpoint, in ms. */
async function changes({ home, client, kubeconfig, folder, address }: Changing): Promise<number[]> {
  const control = join(folder, "control.sock");
  const options = ["--kubeconfig", kubeconfig, "--control", control, "--rounds", String(ROUNDS), "--address", address, "--slice", "real-1"];
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
  await client.spawn(process.execPath, [
    join(root, "test/bench/prober.ts"),
    "--control",
    control,
    "--name",
    client.name,
    "--pause-ms",
    "1",
  ]);
  const [line] = await driver.waitForLine(/^\{"live_ms".*$/, { timeoutMs: 300_000 });
  return (JSON.parse(line) as { live_ms: number[] }).live_ms; // from our own driver
}

/** What the agent wrote, read back from its host's kernel, and given to iptables-restore on a host where nobody else is. */
async function bareRestore(
  client: Host,
  bare: Host,
  { folder, address }: { readonly folder: string; readonly address: string },
): Promise<{ fullMs: number; changeMs: number[] }> {
  const { stdout } = await client.run("iptables-save", ["-t", "nat"], { timeoutMs: 120_000 });
  const full = join(folder, "full.rules");
  await writeFile(full, `${stdout}\n`);
  const chain = new RegExp(`^-A (\\S+) -d ${address.replaceAll(".", "\\.")}/32 .*DNAT`, "m").exec(stdout)?.[1] ?? "";
  const rules = stdout.split("\n").filter((line) => line.startsWith(`-A ${chain} `));
  if (rules.length === 0) throw new Error(`no rule for ${address} in what the agent wrote`);
  const change = join(folder, "change.rules");
  await writeFile(change, ["*nat", `:${chain} - [0:0]`, ...rules, "COMMIT", ""].join("\n"));
  const restore = async (file: string, repeat: number): Promise<number[]> => {
    const ran = await bare.run(process.execPath, [join(root, "test/bench/bare-restore.ts"), "--file", file, "--repeat", String(repeat)], {
      timeoutMs: 300_000,
    });
    return (JSON.parse(ran.stdout) as { ms: number[] }).ms; // from our own program
  };
  const [fullMs = NaN] = await restore(full, 1);
  return { fullMs, changeMs: await restore(change, BARE_ROUNDS) };
}
