import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server } from "node:https";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { z } from "zod";
import { AppError } from "#proto/error.ts";
import { causesOf } from "#proto/parse.ts";
import type { Identity, Permission } from "#server/trust/identity.ts";
import { checkAccept } from "./accept.ts";
import { authorize } from "./authorize.ts";
import { refuseImpersonation } from "./impersonation.ts";

/** The only way to add a route: each one says who may call it, and what it takes and gives, which is where the OpenAPI document comes from. */

export type App = FastifyInstance<Server, IncomingMessage, ServerResponse>;
export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
export type Authenticate = (bearer: string) => Identity | undefined | Promise<Identity | undefined>;

/** Path parameters as they stand in the path (`:name`), decoded. */
export type Params = Readonly<Record<string, string>>;

export interface Call<Query, Body> {
  readonly params: Params;
  /** Validated by the route's `query`. */
  readonly query: Query;
  /** Validated by the route's `body`; as it came when the route has none. */
  readonly body: Body;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

interface RouteFacts<Query, Body> {
  readonly method: Method;
  /** As Fastify writes it: `/apis/fairlead.dev/v1/nodes/:name/heartbeat`. */
  readonly path: string;
  /** One line for the OpenAPI document. */
  readonly summary: string;
  readonly query?: z.ZodType<Query> | undefined;
  readonly body?: z.ZodType<Body> | undefined;
  /** What the body should be, where the handler itself validates it; for the OpenAPI document. */
  readonly describesBody?: z.ZodType | undefined;
  /** What a 2xx answer holds; for the OpenAPI document. */
  readonly answer?: z.ZodType | undefined;
  /** Media types of the request's body, when not JSON alone. */
  readonly accepts?: readonly string[] | undefined;
}

export interface Route<Query, Body> extends RouteFacts<Query, Body> {
  readonly permission: Exclude<Permission, { readonly access: "public" }>;
  /** What it returns is sent as JSON; a stream, a Buffer or `reply` itself are sent as they are. */
  handler(call: Call<Query, Body>, identity: Identity): unknown;
}

export interface PublicRoute<Query, Body> extends RouteFacts<Query, Body> {
  handler(call: Call<Query, Body>): unknown;
}

/** What is known of a declared route. */
export interface DeclaredRoute extends RouteFacts<unknown, unknown> {
  readonly permission: Permission;
}

declare module "fastify" {
  interface FastifyContextConfig {
    declared?: DeclaredRoute;
  }
  interface FastifyInstance {
    /** Every route of the app, in the order of declaration. */
    declaredRoutes: DeclaredRoute[];
  }
  interface FastifyRequest {
    identity: Identity | undefined;
  }
}

/** To be called once, before any route: checks credential and permission before the body is read, and refuses routes that declare none. */
export function guardRoutes(app: App, authenticate: Authenticate): void {
  app.decorate("declaredRoutes", []);
  app.decorateRequest("identity", undefined);
  app.addHook("onRoute", ({ url, config }) => {
    if (!config?.declared) throw new Error(`the route ${url} has no permission: declare it with declareRoute`);
  });
  app.addHook("onRequest", async (request) => {
    const permission = request.routeOptions.config.declared?.permission;
    if (permission?.access === "public") return;
    const bearer = /^Bearer +([\x21-\x7e]{1,4096})$/i.exec(request.headers.authorization ?? "")?.[1];
    request.identity = bearer === undefined ? undefined : await authenticate(bearer);
    if (!request.identity) throw unauthorized(bearer);
    refuseImpersonation(request.identity, request.headers);
    // A path that no route has needs a credential too, and then is not found.
    if (permission?.access === "resource") checkAccept(request.headers.accept);
    if (permission) authorize(request.identity, permission, { params: request.params as Params, method: request.method, url: request.url });
  });
}

export function declareRoute<Query = unknown, Body = unknown>(app: App, route: Route<Query, Body>): void {
  add(app, route, route.permission, (call, request) => {
    if (!request.identity) throw unauthorized(); // the guard has seen to it
    return route.handler(call, request.identity);
  });
}

/** A route that needs no credential. */
export function declarePublicRoute<Query = unknown, Body = unknown>(app: App, route: PublicRoute<Query, Body>): void {
  add(app, route, { access: "public" }, (call) => route.handler(call));
}

function add<Query, Body>(
  app: App,
  facts: RouteFacts<Query, Body>,
  permission: Permission,
  handle: (call: Call<Query, Body>, request: FastifyRequest) => unknown,
): void {
  const { method, path, query, body } = facts;
  const declared: DeclaredRoute = { ...facts, permission };
  app.declaredRoutes.push(declared);
  app.route({
    method,
    url: path,
    config: { declared },
    // HEAD would be a second, undeclared way in.
    exposeHeadRoute: false,
    handler: async (request, reply) => {
      const call: Call<Query, Body> = {
        params: request.params as Params,
        query: validated(query, request.query, "query parameter"),
        body: validated(body, request.body, "body"),
        request,
        reply,
      };
      return handle(call, request);
    },
  });
}

function validated<T>(schema: z.ZodType<T> | undefined, input: unknown, what: "query parameter" | "body"): T {
  if (!schema) return input as T; // a route without a schema takes it as it comes
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const causes = causesOf(result.error, input);
  const text = causes.map(({ field, message }) => `${field}: ${message}`).join(", ");
  throw new AppError(what === "body" ? "Invalid" : "BadRequest", `${what} is invalid: ${text}`, { causes });
}

/** The message is Kubernetes' own. What helps depends on what sort of bearer it was meant to be; which part of it is wrong is nobody's business. */
function unauthorized(bearer = ""): AppError {
  return new AppError("Unauthorized", "Unauthorized", { hint: UNKNOWN_BEARERS[bearer.slice(0, 4)] ?? NO_BEARER });
}

const NO_BEARER = "send a valid credential as `Authorization: Bearer …`";
const UNKNOWN_BEARERS: Readonly<Record<string, string>> = {
  "fl1.": "no such join token: it was deleted, or is of another server; make a new one with `fairlead token create`",
  "fln.": "this host's credential is not (or no longer) known: join again with a new token",
  "fla.": "this administrator's credential is not (or no longer) known: copy the server's kubeconfig (/etc/fairlead/admin.yaml) again",
};
