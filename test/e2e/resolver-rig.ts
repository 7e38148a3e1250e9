import { join } from "node:path";
import type { Fleet, Host, Program } from "../fleet/fleet.ts";
import type { Ran, RunOptions } from "../fleet/host.ts";
import { openSystemdTree, type SystemdTree } from "../fleet/systemd-tree.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, openApi, servicesPath, startServer, type Api } from "./agent-rig.ts";

// A fleet whose second host has an operating system of its own, with systemd; the world outside has a name server that counts.

export const OUTSIDE = { name: "www.example.com", address: "192.0.2.80" };
export const WEB = { name: "web.default.svc.cluster.local", address: "10.96.0.50" };

// Whatever can run a command line: a host of the fleet, or the system that is booted on it.
export interface Machine {
  run(file: string, args?: readonly string[], options?: RunOptions): Promise<Ran>;
}

export interface Upstream {
  readonly program: Program;
  // Names that it was asked for, since it runs.
  asked(): Promise<readonly string[]>;
}

export async function startUpstream(out: Host): Promise<Upstream> {
  const args = ["--listen", `${out.ip}:53`, "--name", `${OUTSIDE.name}=${OUTSIDE.address}`];
  const program = await out.spawn(process.execPath, [join(import.meta.dirname, "../fleet/dns-names.ts"), ...args]);
  await program.waitForLine(/^listening/);
  return { program, asked: async () => [...(await program.output()).matchAll(/^asked (\S*) /gm)].map(([, name = ""]) => name) };
}

export async function startFleetServer(host: Host): Promise<Api> {
  await startServer(host);
  const api = await openApi(host);
  await api.create(servicesPath, {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "default" },
    spec: { clusterIP: WEB.address, selector: { app: "web" }, ports: [{ name: "http", port: 80 }] },
  });
  return api;
}

export async function joinMachine(machine: Machine, { api, server, name }: { api: Api; server: Host; name: string }): Promise<void> {
  const { body } = await api.call("POST", "/apis/fairlead.dev/v1/jointokens", { uses: 1 });
  const { token } = body as { token: string }; // as proto/agents.ts says
  await machine.run(fairlead, ["agent", "join", `https://${server.ip}:7443`, "--token-file", "-", "--name", name, "--no-start"], {
    input: token,
  });
}

// As the C library of that machine finds it.
export async function resolved(machine: Machine, name: string): Promise<string> {
  const { stdout } = await machine.run("getent", ["ahostsv4", name], { reject: false });
  return stdout.split(/\s/)[0] ?? "";
}

export async function untilResolved(
  machine: Machine,
  { name, address }: { name: string; address: string },
  timeoutMs = 30_000,
): Promise<number> {
  const start = performance.now();
  await waitFor(async () => (await resolved(machine, name)) === address, { what: `${name} to be ${address}`, timeoutMs });
  return performance.now() - start;
}

export const AGENT_UNIT = `[Unit]
Description=Fairlead agent
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=${fairlead} agent
ExecStopPost=-/bin/systemctl --no-block start fairlead-resolv-conf.service
KillMode=mixed
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
`;

// What NetworkManager and networkd do when a lease comes.
const uplinkUnit = (server: string): string => `[Unit]
Wants=systemd-resolved.service
After=systemd-resolved.service
StartLimitIntervalSec=0
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/resolvectl dns eth0 ${server}
ExecStart=/usr/bin/resolvectl default-route eth0 yes
[Install]
WantedBy=multi-user.target
`;

export async function openTreeHost(fleet: Fleet, host: Host): Promise<SystemdTree> {
  const tree = await openSystemdTree(fleet, host);
  await tree.write("/etc/systemd/system/fairlead-agent.service", AGENT_UNIT);
  await tree.write("/etc/systemd/system/uplink.service", uplinkUnit(fleet.out.ip));
  await tree.boot();
  await tree.run("systemctl", ["enable", "--now", "--quiet", "uplink.service"]);
  return tree;
}

// Every file of a folder with mode, owner, link and content, as one text.
export async function filesOf(machine: Machine, ...folders: string[]): Promise<string> {
  const script = `for folder in "$@"; do find "$folder" -printf '%p %y %m %u %l\\n' -type f -exec sha256sum {} + ; done | sort`;
  return (await machine.run("sh", ["-c", script, "sh", ...folders])).stdout;
}
