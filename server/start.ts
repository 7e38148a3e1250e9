import { join } from "node:path";
import type { Logger } from "pino";
import { pause } from "#proto/backoff.ts";
import { AppError } from "#proto/error.ts";
import { formatIp, parseCidr, parseIp, type IpFamily } from "#proto/ip.ts";
import type { AnyObject } from "#proto/kinds.ts";
import { createAdmission } from "./admission/admit.ts";
import { createApp } from "./app.ts";
import { fleetRoutes } from "./api/fleet/routes.ts";
import { finishNamespaces } from "./api/delete.ts";
import { exposeService } from "./api/expose-service.ts";
import { createTurns } from "./api/in-turn.ts";
import { rewriteService } from "./api/rewrite-service.ts";
import { createPolls } from "./api/polls.ts";
import type { App } from "./api/route.ts";
import { makeNamespaces } from "./bootstrap.ts";
import type { Config } from "./config.ts";
import { compactionLoop } from "./controllers/compaction.ts";
import { exposeServices } from "./controllers/exposed-services.ts";
import { startControllers } from "./controllers/start.ts";
import { giveToWaiting } from "./controllers/waiting-balancers.ts";
import { createMetrics } from "./metrics.ts";
import { openObjectCounts } from "./object-counts.ts";
import { openStore } from "./store/sqlite.ts";
import { reachableAddress } from "./trust/local-names.ts";
import { publish, type Published } from "./trust/publish.ts";
import { openTrust, type Trust } from "./trust/trust.ts";
import { createFeed } from "./watch/feed.ts";
import { createHub } from "./watch/hub.ts";

/** The only wiring: config → store → trust → controllers → API → listening. */

export interface RunningServer {
  /** How others reach it, with the port that it really listens on. */
  readonly url: string;
  readonly published: Published;
  /** What makes no progress, where something does not. */
  stuck(): string | undefined;
  /** Answers those who wait, ends all loops, closes the store. */
  close(): Promise<void>;
}

const BOOKMARK_AFTER_MS = 60_000;
const STALLED_AFTER_MS = 60_000;
const CERTIFICATE_CHECK_MS = 3600_000;

export async function startServer(config: Config, log: Logger): Promise<RunningServer> {
  // In the order of opening; undone in reverse, also when a later step of the start fails.
  const undo: (() => Promise<void> | void)[] = [];
  const close = async (): Promise<void> => {
    for (let step = undo.pop(); step; step = undo.pop()) await step();
  };
  try {
    return { ...(await open(config, log, undo)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function open(config: Config, log: Logger, undo: (() => Promise<void> | void)[]): Promise<Omit<RunningServer, "close">> {
  const { cluster, dataDir, advertise } = config;
  const startedAt = new Date().toISOString();
  const now = Date.now;
  const store = openStore({ path: join(dataDir, "store.db"), log });
  undo.push(() => store.close());
  await makeNamespaces(store, now);
  const trust = await openTrust({ store, dataDir, advertise, log });
  undo.push(() => trust.close());
  const counts = await openObjectCounts(store);
  undo.push(() => counts.stop());
  const hub = createHub(store);
  undo.push(() => hub.close());
  const polls = createPolls({ revocationOf: (identity) => trust.revocationOf(identity) });
  const metrics = createMetrics({ store, polls, objectCounts: () => counts.current() });

  const stopping = new AbortController();
  const controllers = await startControllers({ store, cluster, log, registry: metrics.registry }, stopping.signal);
  const loops = [compactionLoop({ store, log }, stopping.signal)];
  undo.push(async () => {
    stopping.abort();
    await Promise.all([controllers.ended(), ...loops]);
  });

  const admission = await createAdmission({ store, cluster, loadBalancerCidrs: config.loadBalancerCidrs, reserved: ownAddresses(config) });
  undo.push(() => admission.close());
  const inTurn = createTurns();
  const resources = {
    store,
    hub,
    polls,
    admission,
    log,
    now,
    observeCommit: (seconds: number) => metrics.observeCommit(seconds),
    inTurn,
    onSameAgain: (object: AnyObject) => controllers.followAgain(object),
    bookmarkAfterMs: BOOKMARK_AFTER_MS,
    stalledAfterMs: STALLED_AFTER_MS,
  };
  const waiting = await giveToWaiting(
    { store, families: familiesIn(config.loadBalancerCidrs), rewrite: (service) => rewriteService(resources, service), log },
    stopping.signal,
  );
  const exposed = await exposeServices({ store, create: (manifest) => exposeService(resources, manifest), log }, stopping.signal);
  undo.push(async () => {
    stopping.abort();
    await Promise.all([waiting.ended(), exposed.ended()]);
  });
  await finishNamespaces(resources);
  let ready = false;
  const app = createApp({
    tls: trust.tls,
    log,
    authenticate: (bearer) => trust.authenticate(bearer),
    metrics,
    polls,
    resources,
    agents: {
      store,
      feed: createFeed({ store, hub }),
      polls,
      cluster,
      reportApplied: (node, applied, epoch) => controllers.receipts.report(node, { applied, epoch, by: "poll" }),
    },
    unready: () => (ready ? undefined : "the server is starting"),
    otherRoutes: (routes) => fleetRoutes(routes, { store, trust, controllers, cluster, polls, counts, admission, inTurn, log, startedAt }),
  });
  undo.push(() => app.close());
  const url = await listen(app, config);
  loops.push(renewCertificate({ app, trust, log }, stopping.signal));
  const published = await publish({
    trust,
    records: store.records,
    dataDir,
    kubeconfigPath: config.kubeconfigOut,
    serverUrl: url,
    log,
  });
  ready = true;
  return { url, published, stuck: () => controllers.stuck() };
}

async function listen(app: App, { listen: { host, port }, advertise }: Config): Promise<string> {
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "EADDRINUSE")
      throw new AppError("InternalError", `port ${port} of ${host} is taken by another program`, {
        cause,
        hint: "stop the other one (is a server already running?), or choose another port with --listen",
      });
    if (code === "EACCES")
      throw new AppError("InternalError", `listening on ${host}:${port} is not allowed`, { cause, hint: "run it as root" });
    throw new AppError("InternalError", `cannot listen on ${host}:${port}`, { cause, hint: "is --listen an address of this host?" });
  }
  const address = app.server.address();
  const actual = typeof address === "object" && address !== null ? address.port : port;
  return `https://${bracketed(advertise[0] ?? (isWildcard(host) ? (reachableAddress() ?? "localhost") : host))}:${actual}`;
}

function familiesIn(cidrs: readonly string[]): IpFamily[] {
  return cidrs.flatMap((text) => parseCidr(text)?.family ?? []);
}

/** Where hosts reach this server: a service there would cut them off. */
function ownAddresses({ listen: { host }, advertise }: Config): ReadonlyMap<string, string> {
  const named = [...advertise, ...(isWildcard(host) ? [reachableAddress() ?? ""] : [host])];
  const ips = named.map(parseIp).filter((ip) => ip !== undefined);
  return new Map(ips.map((ip) => [formatIp(ip), "the address of the server"]));
}

function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

function bracketed(host: string): string {
  const ip = parseIp(host);
  return ip?.family === "IPv6" ? `[${formatIp(ip)}]` : host;
}

/** New connections get the new certificate; the open ones stay. */
async function renewCertificate({ app, trust, log }: { app: App; trust: Trust; log: Logger }, signal: AbortSignal): Promise<void> {
  for (;;) {
    await pause(CERTIFICATE_CHECK_MS, signal);
    if (signal.aborted) return;
    try {
      const renewed = await trust.refreshTls();
      if (renewed) app.server.setSecureContext(renewed);
    } catch (error) {
      log.error({ err: error }, "the server's certificate could not be renewed; trying again in an hour");
    }
  }
}
