import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request as httpsRequest } from "node:https";
import { pino, type Logger } from "pino";
import { onTestFinished } from "vitest";
import type { ClusterFacts } from "#proto/agents.ts";
import { clientOver, type Client } from "#proto/client.ts";
import { openTransport, type Transport } from "#proto/client-http.ts";
import type { Status } from "#proto/error.ts";
import { parseObject } from "#proto/parse.ts";
import { createAdmission } from "#server/admission/admit.ts";
import { createTurns } from "#server/api/in-turn.ts";
import { fleetRoutes } from "#server/api/fleet/routes.ts";
import { startControllers } from "#server/controllers/start.ts";
import { createPolls, type PollLimits, type Polls } from "#server/api/polls.ts";
import type { App } from "#server/api/route.ts";
import { createApp } from "#server/app.ts";
import { makeNamespaces } from "#server/bootstrap.ts";
import { createMetrics } from "#server/metrics.ts";
import { openObjectCounts } from "#server/object-counts.ts";
import type { Store } from "#server/store/store.ts";
import { openStore } from "#server/store/sqlite.ts";
import { openTrust, type Trust } from "#server/trust/trust.ts";
import { createFeed } from "#server/watch/feed.ts";
import { createHub } from "#server/watch/hub.ts";

/** The real app over real TLS with a real store in a folder of its own, and credentials of each sort. */
export interface ApiServer {
  readonly app: App;
  readonly url: string;
  readonly store: Store;
  readonly trust: Trust;
  readonly polls: Polls;
  readonly ca: string;
  readonly tokens: Readonly<Record<"admin" | "node" | "otherNode" | "joiner", string>>;
  /** What was said in `applied`: node → revision. */
  readonly applied: Map<string, number>;
  readonly logs: readonly string[];
  readonly client: Client;
  readonly transport: Transport;
  /** Another client, of whoever has this bearer. */
  clientOf(bearer: string | undefined): Client;
  /** A raw request. */
  send(call: RawCall): Promise<RawAnswer>;
  close(): Promise<void>;
}

export interface RawCall {
  readonly method?: string;
  readonly path: string;
  readonly body?: string | Buffer | object | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: the admin's. */
  readonly bearer?: string | undefined | null;
}

/** Whatever came: a Status, an object or a list. Tests say what they expect of it. */
export interface AnyJson extends Omit<Status, "kind" | "apiVersion" | "metadata" | "status"> {
  readonly kind: string;
  readonly metadata: Readonly<Record<string, string | undefined>> & {
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
  };
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status: unknown;
  readonly items: readonly AnyJson[];
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: AnyJson;
}

export interface ApiOptions {
  readonly dir?: string;
  readonly port?: number;
  /** The administrator's credential of an earlier run on the same folder. */
  readonly admin?: string;
  readonly limits?: PollLimits;
  readonly bookmarkAfterMs?: number;
  readonly stalledAfterMs?: number;
  readonly cluster?: Partial<ClusterFacts>;
  readonly loadBalancerCidrs?: readonly string[];
}

export const cluster: ClusterFacts = {
  domain: "cluster.local",
  serviceCidrs: ["10.96.0.0/16"],
  dnsIps: ["10.96.0.10"],
  nodePortRange: { from: 30_000, to: 32_767 },
  heartbeatIntervalMs: 1000,
  nodeTimeoutMs: 5000,
};

export async function startApi(options: ApiOptions = {}): Promise<ApiServer> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), "fairlead-api-")));
  const logs: string[] = [];
  const log: Logger = pino({ level: "debug", base: null }, { write: (line: string) => void logs.push(line) });
  const store = openStore({ path: join(dir, "store.db") });
  await makeNamespaces(store, Date.now);
  const trust = await openTrust({ store, dataDir: dir, log });
  const counts = await openObjectCounts(store);
  const hub = createHub(store);
  const polls = createPolls({ limits: options.limits, revocationOf: (identity) => trust.revocationOf(identity) });
  const metrics = createMetrics({ store, polls, objectCounts: () => counts.current() });
  const admission = await createAdmission({
    store,
    cluster: { ...cluster, ...options.cluster },
    loadBalancerCidrs: options.loadBalancerCidrs,
    reserved: new Map([["192.0.2.250", "the address of the server"]]),
  });
  const stopping = new AbortController();
  const controllers = await startControllers({ store, cluster, log, registry: metrics.registry }, stopping.signal);
  const applied = new Map<string, number>();
  const inTurn = createTurns();
  const app = createApp({
    tls: trust.tls,
    log,
    authenticate: (bearer) => trust.authenticate(bearer),
    metrics,
    polls,
    resources: {
      store,
      hub,
      polls,
      admission,
      log,
      now: Date.now,
      observeCommit: (seconds) => metrics.observeCommit(seconds),
      inTurn,
      onSameAgain: (object) => controllers.followAgain(object),
      bookmarkAfterMs: options.bookmarkAfterMs ?? 60_000,
      stalledAfterMs: options.stalledAfterMs ?? 60_000,
    },
    agents: {
      store,
      feed: createFeed({ store, hub }),
      polls,
      cluster,
      reportApplied: (node, revision) => void applied.set(node, revision),
    },
    unready: () => undefined,
    otherRoutes: (routes) =>
      fleetRoutes(routes, {
        store,
        trust,
        controllers,
        cluster,
        polls,
        counts,
        admission,
        inTurn,
        log,
        startedAt: new Date().toISOString(),
      }),
  });
  await app.listen({ host: "127.0.0.1", port: options.port ?? 0 });
  const address = app.server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const url = `https://127.0.0.1:${port}`;
  const { caPem: ca } = trust;
  const tokens = {
    admin: options.admin ?? (await trust.admin.replace()),
    node: await aNode(store, trust, "vm-1", "192.168.56.11"),
    otherNode: await aNode(store, trust, "vm-2", "192.168.56.12"),
    joiner: (await trust.joinTokens.create({ ttlSeconds: 600, uses: 1, description: "test" })).token,
  };
  const open: Transport[] = [];
  const connect = (token: string | undefined): Transport => {
    const made = openTransport({ server: url, ca, token });
    open.push(made);
    return made;
  };
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> =>
    (closed ??= (async () => {
      await Promise.all(open.map((transport) => transport.close()));
      await app.close();
      stopping.abort();
      await controllers.ended();
      hub.close();
      counts.stop();
      admission.close();
      trust.close();
      await store.close();
    })());
  onTestFinished(async () => {
    await close();
    await rm(dir, { recursive: true, force: true });
  });
  const transport = connect(tokens.admin);
  return {
    app,
    url,
    store,
    trust,
    polls,
    ca,
    tokens,
    applied,
    logs,
    transport,
    client: clientOver(transport),
    clientOf: (bearer) => clientOver(connect(bearer)),
    send: (call) => sendRaw({ port, ca, admin: tokens.admin }, call),
    close,
  };
}

async function aNode(store: Store, trust: Trust, name: string, address: string): Promise<string> {
  const key = { kind: "Node", namespace: "", name } as const;
  const node = parseObject("Node", {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name, uid: randomUUID() },
    status: { addresses: [{ type: "InternalIP", address }], conditions: [{ type: "Ready", status: "True" }] },
  });
  if (!(await store.get(key))) await store.transact([{ op: "put", object: node, expect: "create" }]);
  return trust.nodes.issue(name, `machine-${name}`);
}

function sendRaw({ port, ca, admin }: { port: number; ca: string; admin: string }, call: RawCall): Promise<RawAnswer> {
  const { method = "GET", path, body, bearer = admin } = call;
  const text = body === undefined || typeof body === "string" || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const headers = {
    ...(bearer !== null && { authorization: `Bearer ${bearer}` }),
    ...(text !== undefined && { "content-type": "application/json", "content-length": String(Buffer.byteLength(text)) }),
    ...call.headers,
  };
  return new Promise((resolve, reject) => {
    const request = httpsRequest({ host: "127.0.0.1", port, ca, method, path, headers, agent: false }, (response) => {
      let received = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => (received += chunk));
      response.on("error", reject);
      response.on("end", () => {
        const isJson = received !== "" && String(response.headers["content-type"]).includes("json");
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: received,
          json: (isJson ? JSON.parse(received) : {}) as AnyJson,
        });
      });
    });
    request.on("error", reject);
    request.end(text);
  });
}
