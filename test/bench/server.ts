import { dirname, join } from "node:path";
import { findConfig, openContext } from "#cli/context.ts";
import type { Connection } from "#proto/client-http.ts";
import type { Host, Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";

export const root = join(import.meta.dirname, "../..");
export const fairlead = join(root, "fairlead");

/** A real server on a fleet's host; resolves when it answers. */
export async function startServer(host: Host, kubeconfig: string, env: Record<string, string> = {}, launcher = fairlead): Promise<Program> {
  const server = await host.spawn(
    launcher,
    [
      "server",
      "--listen",
      "0.0.0.0:7443",
      "--advertise",
      host.ip,
      "--data-dir",
      join(dirname(kubeconfig), "server"), // on a disk: the /var/lib of a fleet's host is in memory, where fsync costs nothing
      "--kubeconfig-out",
      kubeconfig,
      "--log-level",
      "warn",
    ],
    { env },
  );
  await waitFor(async () => (await host.run(fairlead, ["--kubeconfig", kubeconfig, "status"], { reject: false })).exitCode === 0, {
    what: "the server",
    timeoutMs: 30_000,
    intervalMs: 100,
  }).catch(async (cause: unknown) => {
    throw new Error(`the server did not come up: ${await server.output()}`, { cause });
  });
  return server;
}

interface Fleet {
  readonly server: Host;
  readonly kubeconfig: string;
}

export async function joinFleet(host: Host, { server, kubeconfig }: Fleet): Promise<void> {
  const { stdout: token } = await server.run(fairlead, ["--kubeconfig", kubeconfig, "token", "create", "--ttl", "10m"]);
  await host.run(fairlead, ["agent", "join", `https://${server.ip}:7443`, "--token-file", "-", "--name", host.name], { input: token });
}

/** Joins a host and starts its agent; resolves when it runs. */
export async function startAgent(host: Host, fleet: Fleet, env: Record<string, string> = {}): Promise<Program> {
  await joinFleet(host, fleet);
  return startJoined(host, env);
}

export async function startJoined(host: Host, env: Record<string, string> = {}, launcher = fairlead): Promise<Program> {
  return host.spawn(launcher, ["agent", "--log-level", "warn"], { env });
}

/** Server and credential of the admin, as the CLI reads them. */
export async function connectionOf(kubeconfig: string): Promise<Connection> {
  return openContext(await findConfig([{ path: kubeconfig, named: "--kubeconfig" }]));
}
