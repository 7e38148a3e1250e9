import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFleet, type Host, type Program } from "../fleet/fleet.ts";
import { fairlead, joinFleet, root, startServer } from "./server.ts";

/** A host whose connections go through a virtual IP, 500 new ones a second, while its agent is being treated badly. */

const PER_SECOND = 500;
/** What else is in the kernel, so that programming it takes its time. */
const OTHER_SERVICES = 500;

export interface Treated {
  readonly host: Host;
  /** Starts the agent with these options more; resolves when the kernel holds its rules. */
  startAgent(...options: readonly string[]): Promise<Program>;
}

export interface Loaded {
  readonly connections: number;
  readonly failed: number;
  readonly slow: number;
  readonly slowest_ms: number;
  readonly failures: Readonly<Record<string, number>>;
}

/** `treat` gets a host whose agent does not run yet, and starts the first; the load begins when that has programmed the kernel. */
export async function underLoad(first: readonly string[], treat: (host: Treated, agent: Program) => Promise<void>): Promise<Loaded> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-bench-"));
  const kubeconfig = join(folder, "admin.yaml");
  await using fleet = await createFleet({ hosts: 2 });
  try {
    const [home, client] = fleet.hosts;
    const server = await startServer(home, kubeconfig);
    const listen = [`${home.ip}:9001=a`, `${home.ip}:9002=b`].flatMap((one) => ["--listen", one]);
    await (await home.spawn(process.execPath, [join(root, "test/bench/greeter.ts"), ...listen])).waitForLine(/9002=b/);
    const seed = ["--kubeconfig", kubeconfig, "--services", String(OTHER_SERVICES), "--real", `${home.ip}:9001`];
    const seeded = await home.run(process.execPath, [join(root, "test/bench/seed.ts"), ...seed], { timeoutMs: 120_000 });
    const { address } = JSON.parse(seeded.stdout) as { address: string }; // from our own program
    await joinFleet(client, { server: home, kubeconfig });
    const startAgent = async (...options: readonly string[]): Promise<Program> => {
      const agent = await client.spawn(fairlead, ["agent", ...options]);
      await agent.waitForLine(/programmed the kernel/, { timeoutMs: 60_000 });
      return agent;
    };
    const agent = await startAgent(...first);
    const load = await client.spawn(process.execPath, [
      join(root, "test/bench/load.ts"),
      "--to",
      `${address}:80`,
      "--per-second",
      String(PER_SECOND),
    ]);
    await load.waitForLine(/running/);
    await treat({ host: client, startAgent }, agent);
    load.signal("SIGTERM");
    const [line] = await load.waitForLine(/^\{"connections".*$/, { timeoutMs: 30_000 });
    await server.stop();
    return JSON.parse(line) as Loaded; // from our own program
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
