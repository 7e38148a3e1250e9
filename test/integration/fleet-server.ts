import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import { parse } from "yaml";
import { JoinReply, JoinTokenCreated, ReceiptsReply, type ClusterFacts, type JoinTokenRequest } from "#proto/agents.ts";
import { pause } from "#proto/backoff.ts";
import { AppError } from "#proto/error.ts";
import { clientOver, type Client } from "#proto/client.ts";
import { openTransport, type Call, type Transport } from "#proto/client-http.ts";
import type { EndpointSlice } from "#proto/endpoint-slice.ts";
import { isNodeReady } from "#proto/node.ts";
import { paths } from "#proto/paths.ts";
import type { Config } from "#server/config.ts";
import { startServer } from "#server/start.ts";
import { freePort } from "#test/free-port.ts";
import { waitFor } from "#test/wait-for.ts";

/** The real server with all its parts in this process, and hosts that join it and send heartbeats, but have no kernel. */
export interface FleetServer {
  readonly url: string;
  readonly ca: string;
  readonly dataDir: string;
  readonly admin: Client;
  /** The administrator's. */
  readonly bearer: string;
  connect(bearer: string | undefined): Transport;
  token(request?: Partial<JoinTokenRequest>): Promise<JoinTokenCreated>;
  /** Joins, and sends heartbeats until the test ends. */
  host(name: string, address: string, options?: { podCIDRs?: string[] }): Promise<TestHost>;
  /** Stops it and starts it again with the same data, on the same port. */
  restart(more?: Partial<Config>): Promise<void>;
  waitFor(revision: number, timeoutMs: number): Promise<ReceiptsReply>;
}

export interface TestHost {
  readonly name: string;
  readonly client: Client;
  readonly transport: Transport;
  beat(more?: object): Promise<void>;
  silence(): Promise<void>;
  resume(): void;
}

export const cluster: ClusterFacts = {
  domain: "cluster.local",
  serviceCidrs: ["10.96.0.0/16"],
  dnsIps: ["10.96.0.10"],
  nodePortRange: { from: 30_000, to: 32_767 },
  heartbeatIntervalMs: 100,
  nodeTimeoutMs: 600,
};

export async function startFleet(facts: Partial<ClusterFacts> = {}, loadBalancerCidrs: readonly string[] = []): Promise<FleetServer> {
  const dataDir = await mkdtemp(join(tmpdir(), "fairlead-fleet-"));
  const config = {
    listen: { host: "127.0.0.1", port: await freePort() }, // the next start listens there again
    dataDir,
    cluster: { ...cluster, ...facts },
    loadBalancerCidrs,
    advertise: [],
    kubeconfigOut: join(dataDir, "admin.yaml"),
    logLevel: "error" as const,
  };
  const log = pino({ level: "error" });
  let server = await startServer(config, log);
  const { url } = server;
  const transports: Transport[] = [];
  const hosts: TestHost[] = [];
  onTestFinished(async () => {
    await Promise.all(hosts.map((host) => host.silence()));
    await Promise.all(transports.map((transport) => transport.close()));
    await server.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  const ca = await readFile(join(dataDir, "ca.crt"), "utf8");
  const kubeconfig = parse(await readFile(config.kubeconfigOut, "utf8")) as { users: [{ user: { token: string } }] };
  const connect = (token: string | undefined): Transport => {
    const transport = openTransport({ server: url, ca, token });
    transports.push(transport);
    return transport;
  };
  const adminTransport = connect(kubeconfig.users[0].user.token);
  const admin = clientOver(adminTransport);
  const token = async (request: Partial<JoinTokenRequest> = {}): Promise<JoinTokenCreated> =>
    JoinTokenCreated.parse((await adminTransport.send({ method: "POST", path: paths.joinTokens, body: request })).body);

  return {
    url,
    ca,
    dataDir,
    admin,
    bearer: kubeconfig.users[0].user.token,
    connect,
    token,
    host: async (name, address, { podCIDRs = [] } = {}) => {
      const joiner = connect((await token()).token);
      const reply = JoinReply.parse((await joiner.send(joinCall(name, address, { podCIDRs }))).body);
      const host = aHost(name, connect(reply.token));
      hosts.push(host);
      host.resume();
      await waitFor(async () => isNodeReady(await admin.get("Node", name)), { what: `${name} to be Ready` });
      return host;
    },
    restart: async (more = {}) => {
      await server.close();
      server = await startServer({ ...config, ...more }, log);
    },
    waitFor: async (revision, timeoutMs) =>
      ReceiptsReply.parse((await adminTransport.send({ path: paths.receipts, query: { revision, timeoutMs } })).body),
  };
}

export function joinCall(name: string, address: string, more: object = {}): Call {
  const body = { name, machineId: `machine-of-${name}`, addresses: [{ type: "InternalIP", address }], ...more };
  return { method: "POST", path: paths.join, body };
}

function aHost(name: string, transport: Transport): TestHost {
  let stop = new AbortController();
  let beating: Promise<void> = Promise.resolve();
  const beat = async (more: object = {}): Promise<void> => {
    await transport.send({ method: "POST", path: paths.heartbeat(name), body: more });
  };
  const beatIfUp = async (): Promise<void> => {
    try {
      await beat();
    } catch (error) {
      if (!(error instanceof AppError)) throw error; // the server is down, or the host was deleted
    }
  };
  const loop = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      await beatIfUp();
      await pause(cluster.heartbeatIntervalMs, signal);
    }
  };
  return {
    name,
    transport,
    client: clientOver(transport),
    beat,
    silence: async () => {
      stop.abort();
      await beating;
    },
    resume: () => {
      stop = new AbortController();
      beating = loop(stop.signal);
    },
  };
}

export function aService(name: string, spec: object = {}) {
  return {
    apiVersion: "v1" as const,
    kind: "Service" as const,
    metadata: { name, namespace: "default" },
    spec: { selector: { app: name }, ports: [{ port: 80, targetPort: 8080 }], ...spec },
  };
}

export function aWorkload(name: string, node: string, spec: object = {}, app = name) {
  return {
    apiVersion: "fairlead.dev/v1" as const,
    kind: "Workload" as const,
    metadata: { name, namespace: "default", labels: { app } },
    spec: { node, ports: [{ port: 8080 }], ...spec },
  };
}

/** `address:port` of the endpoints that are ready, or what else `pick` makes of them. */
export async function readyEndpoints(client: Client, service: string): Promise<string[]> {
  const { items } = await client.list("EndpointSlice", { namespace: "default", labelSelector: `kubernetes.io/service-name=${service}` });
  return items.flatMap(addressesOf).toSorted();
}

function addressesOf({ endpoints, ports }: EndpointSlice): string[] {
  return endpoints
    .filter(({ conditions }) => conditions.ready !== false)
    .flatMap(({ addresses }) => ports.map(({ port }) => `${addresses[0] ?? ""}:${port ?? ""}`));
}
