import { hostname } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import type { Host, Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";

// A real server and real agents on a fleet's hosts, and the API by curl from the server's host.

/** In User-Mode Linux starting a program takes 15 times as long. */
const PATIENCE = hostname() === "uml" ? 6 : 1;

export const fairlead = join(import.meta.dirname, "../../fairlead");

export interface Api {
  call(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }>;
  // Throws when the answer is an error.
  create(path: string, body: object): Promise<void>;
}

export interface Rig {
  readonly server: Program;
  readonly api: Api;
  readonly host: Host;
}

export async function startServer(host: Host, ...flags: string[]): Promise<Program> {
  const server = await host.spawn(fairlead, ["server", "--listen", "0.0.0.0:7443", "--advertise", host.ip, ...flags]);
  const up = async () => (await host.run("curl", ["-sk", "-m", "2", "https://127.0.0.1:7443/readyz"], { reject: false })).exitCode === 0;
  await waitFor(up, { what: "the server", timeoutMs: 20_000 * PATIENCE }).catch(async (cause: unknown) => {
    throw new Error(`the server did not come up: ${await server.output()}`, { cause });
  });
  return server;
}

export async function openApi(host: Host): Promise<Api> {
  const text = await waitFor(async () => (await host.run("cat", ["/etc/fairlead/admin.yaml"])).stdout, {
    what: "the admin's credential",
    timeoutMs: 5_000 * PATIENCE,
  });
  const { users } = parse(text) as { users: { user: { token: string } }[] }; // the server has written it
  const token = users[0]?.user.token ?? "";
  const call: Api["call"] = async (method, path, body) => {
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    const { stdout } = await host.run(
      "curl",
      [
        "-sk",
        "-m",
        "20",
        "-X",
        method,
        "-H",
        `content-type: ${type}`,
        "-H",
        `authorization: Bearer ${token}`,
        "-w",
        "\n%{http_code}",
        "--data-binary",
        "@-",
        `https://127.0.0.1:7443${path}`,
      ],
      { input: body === undefined ? "" : JSON.stringify(body) },
    );
    const end = stdout.lastIndexOf("\n");
    const answer = stdout.slice(0, end);
    return { status: Number(stdout.slice(end + 1)), body: answer === "" ? undefined : (JSON.parse(answer) as unknown) };
  };
  return {
    call,
    async create(path, body) {
      const { status, body: answer } = await call("POST", path, body);
      if (status >= 300) throw new Error(`POST ${path}: ${status} ${JSON.stringify(answer)}`);
    },
  };
}

export async function joinHost(host: Host, { api, server, name = host.name }: { api: Api; server: Host; name?: string }): Promise<void> {
  const { body } = await api.call("POST", "/apis/fairlead.dev/v1/jointokens", { uses: 1 });
  const { token } = body as { token: string }; // as proto/agents.ts says
  await host.run(fairlead, ["agent", "join", `https://${server.ip}:7443`, "--token-file", "-", "--name", name], {
    input: token,
    timeoutMs: 30_000 * PATIENCE,
  });
}

export async function startAgent(host: Host, ...flags: string[]): Promise<Program> {
  const agent = await host.spawn(fairlead, ["agent", ...flags]);
  await agent.waitForLine(/programmed the kernel/, { timeoutMs: 20_000 * PATIENCE });
  return agent;
}

export interface WorkloadOptions {
  readonly port?: number;
  readonly checks?: object[];
  readonly graceSeconds?: number;
}

export const workloadsPath = "/apis/fairlead.dev/v1/namespaces/default/workloads";
export const servicesPath = "/api/v1/namespaces/default/services";

export function aWorkload(name: string, host: Host, { port = 8080, checks = [], graceSeconds = 2 }: WorkloadOptions = {}) {
  return {
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name, namespace: "default", labels: { app: "web" } },
    spec: {
      node: host.name,
      address: host.ip,
      ports: [{ name: "http", port }],
      checks,
      terminationGracePeriodSeconds: graceSeconds,
    },
  };
}

export function aService(name: string, more: object = {}) {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name, namespace: "default" },
    spec: { selector: { app: "web" }, ports: [{ port: 80, targetPort: "http" }], clusterIP: "10.96.0.50", ...more },
  };
}

export async function serveHttp(host: Host, id: string, port = 8080): Promise<Program> {
  const program = await host.spawn("node", ["test/fleet/http-echo.ts", "--id", id, "--listen", `${host.ip}:${port}`]);
  await program.waitForLine(/^listening/, { timeoutMs: 10_000 * PATIENCE });
  return program;
}

export interface Asked {
  readonly answers: Readonly<Record<string, number>>;
  readonly failures: Readonly<Record<string, number>>;
}

export async function ask(host: Host, requests: number, url = "http://10.96.0.50/", ...flags: string[]): Promise<Asked> {
  const { stdout } = await host.run("node", ["test/fleet/http-ask.ts", "--url", url, "--requests", String(requests), ...flags], {
    timeoutMs: 60_000,
  });
  return JSON.parse(stdout) as Asked; // what http-ask says of itself
}

export async function isSetUp(host: Host, ids: readonly string[]): Promise<void> {
  await waitFor(
    async () =>
      Object.keys((await ask(host, 20)).answers)
        .toSorted()
        .join() === [...ids].toSorted().join(),
    {
      what: `${ids.join()} to answer on ${host.name}`,
      timeoutMs: 15_000,
      intervalMs: 100,
    },
  );
}

export const rulesOf = async (host: Host): Promise<string[]> =>
  (await host.run("iptables-save")).stdout.split("\n").filter((line) => line.startsWith("-A"));
