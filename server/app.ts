import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import Fastify, { LogController, type FastifyBaseLogger } from "fastify";
import { AppError, errorCodes, toStatus } from "#proto/error.ts";
import { endpointsRoutes } from "./api/endpoints/routes.ts";
import { eventRoutes } from "./api/events/routes.ts";
import { serviceCidrRoutes } from "./api/service-cidrs/routes.ts";
import { discoveryRoutes } from "./api/discovery.ts";
import { MAX_BODY_BYTES, methodNotAllowed, notFoundPath, pathOnly, replyWithError } from "./api/error-reply.ts";
import { userNameOf } from "./api/authorize.ts";
import { acceptJsonBodies } from "./api/json-body.ts";
import { notHereRoutes } from "./api/not-here.ts";
import { openApiV2Routes } from "./api/openapi-v2.ts";
import { openApiV3Routes } from "./api/openapi-v3.ts";
import { openApiRoute } from "./api/openapi.ts";
import { podRoutes } from "./api/pods/routes.ts";
import type { Polls } from "./api/polls.ts";
import { probeRoutes } from "./api/probes.ts";
import { reviewRoutes } from "./api/reviews.ts";
import { resourceRoutes, type ResourceDeps } from "./api/resources.ts";
import { guardRoutes, type App, type Authenticate } from "./api/route.ts";
import { agentRoutes, type AgentsDeps } from "./api/agents.ts";
import { createListener, type Listener } from "./listener.ts";
import type { Metrics } from "./metrics.ts";

/** The HTTP server with all its routes, from plain dependencies; it listens nowhere yet. */

export interface AppDeps {
  readonly tls: { readonly key: string; readonly cert: string };
  readonly log: FastifyBaseLogger;
  readonly authenticate: Authenticate;
  readonly metrics: Metrics;
  readonly polls: Polls;
  readonly resources: ResourceDeps;
  readonly agents: AgentsDeps;
  readonly unready: () => string | undefined;
  /** Routes of other parts of the server. */
  readonly otherRoutes: (app: App) => void;
}

/** Go's clients keep idle connections for 90 s; closing earlier would race with their next request. */
const KEEP_ALIVE_MS = 120_000;
const HEADERS_MS = 10_000;
const REQUEST_MS = 30_000;
/** Answers that take longer than this are cut when the server closes. */
const CLOSING_MS = 1000;
const MAX_CONNECTIONS = 25_000;
/** A name of 253 characters, percent-encoded. */
const MAX_PARAM = 800;

export function createApp(deps: AppDeps): App {
  const { tls, log, authenticate, metrics, polls } = deps;
  const listener = createListener(tls, { headersMs: HEADERS_MS, requestMs: REQUEST_MS, idleMs: KEEP_ALIVE_MS });
  const app: App = Fastify({
    serverFactory: (handler) => listener.server.on("request", handler),
    loggerInstance: log,
    // One line a request, at debug, below.
    logController: new LogController({ disableRequestLogging: true }),
    // Idle connections are cut at once; those that wait were answered before, in preClose.
    forceCloseConnections: true,
    return503OnClosing: false, // in our own words, below
    bodyLimit: MAX_BODY_BYTES,
    routerOptions: { maxParamLength: MAX_PARAM },
    frameworkErrors: replyWithError,
    clientErrorHandler: answerUnreadable,
  });
  app.server.maxConnections = MAX_CONNECTIONS;
  app.decorateRequest("waits", false);
  refuseWhenClosing(app, polls, listener);
  guardRoutes(app, authenticate);
  observe(app, metrics);
  acceptJsonBodies(app);
  app.setErrorHandler(replyWithError);

  discoveryRoutes(app);
  reviewRoutes(app);
  resourceRoutes(app, deps.resources);
  podRoutes(app, deps.resources);
  endpointsRoutes(app, deps.resources);
  eventRoutes(app, deps.resources);
  serviceCidrRoutes(app, deps.resources, deps.agents.cluster.serviceCidrs);
  notHereRoutes(app, deps.resources.store);
  agentRoutes(app, deps.agents);
  deps.otherRoutes(app);
  probeRoutes(app, { registry: metrics.registry, unready: deps.unready });
  openApiV2Routes(app);
  openApiV3Routes(app);
  openApiRoute(app);
  answerUnknown(app);
  return app;
}

/** Those that wait get their answer, those that work finish; whoever comes now is told to come back. */
function refuseWhenClosing(app: App, polls: Polls, listener: Listener): void {
  const open = new Set<ServerResponse>();
  let closing = false;
  let drained: (() => void) | undefined;
  app.addHook("onRequest", (request, reply, done) => {
    if (closing) {
      if (request.raw.httpVersionMajor === 1) void reply.header("Connection", "close");
      done(new AppError("ServiceUnavailable", "the server is stopping", { retryAfterSeconds: 1 }));
      return;
    }
    open.add(reply.raw);
    reply.raw.once("close", () => {
      open.delete(reply.raw);
      if (open.size === 0) drained?.();
    });
    done();
  });
  app.addHook("preClose", async () => {
    closing = true;
    listener.refuseNewStreams();
    polls.close();
    const answered = new Promise<void>((resolve) => {
      drained = resolve;
      if (open.size === 0) resolve();
    });
    const late = new Promise<void>((resolve) => void setTimeout(resolve, CLOSING_MS).unref());
    await Promise.race([answered.then(() => listener.sessionsEnd()), late]);
  });
}

function observe(app: App, metrics: Metrics): void {
  app.addHook("onResponse", (request, reply, done) => {
    const route = request.routeOptions.url ?? "";
    const { method } = request;
    const code = reply.raw.statusCode;
    const seconds = reply.elapsedTime / 1000;
    metrics.observeRequest({ route, method: route === "" ? "" : method, code, seconds, waited: request.waits });
    const by = request.identity && userNameOf(request.identity);
    request.log.debug(
      { method, path: pathOnly(request.url), http: request.raw.httpVersion, code, ms: Math.round(reply.elapsedTime), by },
      "request",
    );
    done();
  });
}

/** No such path, or not by this method. */
function answerUnknown(app: App): void {
  app.setNotFoundHandler(async (request) => {
    const path = pathOnly(request.url).split("/");
    const known = app.declaredRoutes.some(({ path: declared }) => {
      const parts = declared.split("/");
      return parts.length === path.length && parts.every((part, i) => (part.startsWith(":") ? path[i] !== "" : part === path[i]));
    });
    throw known ? methodNotAllowed() : notFoundPath();
  });
}

const UNREADABLE: Readonly<Record<string, string>> = {
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
};

/** What is not HTTP, or too slow: answered on the bare socket, as there is no request. */
function answerUnreadable(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return;
  if (socket.writable) {
    const status = UNREADABLE[error.code ?? ""] ?? "400 Bad Request";
    const refusal = new AppError("BadRequest", "the request could not be read");
    const body = JSON.stringify({ ...toStatus(refusal), code: Number(status.slice(0, 3)) || errorCodes.BadRequest.status });
    socket.write(
      `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
    );
  }
  socket.destroy();
}
