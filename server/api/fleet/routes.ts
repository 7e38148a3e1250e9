import type { Logger } from "pino";
import { z } from "zod";
import {
  FleetStatus,
  Heartbeat,
  HeartbeatReply,
  JoinReply,
  JoinRequest,
  JoinTokenCreated,
  JoinTokenInfo,
  JoinTokenRequest,
  ReceiptsReply,
  type ClusterFacts,
} from "#proto/agents.ts";
import { AppError } from "#proto/error.ts";
import { paths } from "#proto/paths.ts";
import type { Admission } from "#server/admission/admission.ts";
import { NETWORKS_TURN } from "#server/admission/node.ts";
import type { Controllers } from "#server/controllers/start.ts";
import type { ObjectCounts } from "#server/object-counts.ts";
import { notFound } from "#server/store/errors.ts";
import type { Store } from "#server/store/store.ts";
import type { Trust } from "#server/trust/trust.ts";
import type { Polls } from "../polls.ts";
import { declarePublicRoute, declareRoute, type App } from "../route.ts";
import { clusterRoute } from "./cluster.ts";
import { createJoin } from "./join.ts";
import { fleetStatus } from "./status.ts";

/** The routes by which hosts come in and stay, and by which their state is seen. */
export interface FleetDeps {
  readonly store: Store;
  readonly trust: Trust;
  readonly controllers: Controllers;
  readonly cluster: ClusterFacts;
  readonly polls: Polls;
  readonly counts: ObjectCounts;
  readonly admission: Admission;
  /** The same as of other writers. */
  readonly inTurn: <T>(key: string, work: () => Promise<T>) => Promise<T>;
  readonly log: Pick<Logger, "info">;
  readonly startedAt: string;
}

export function fleetRoutes(app: App, deps: FleetDeps): void {
  joinRoutes(app, deps);
  clusterRoute(app, deps.cluster);
  tokenRoutes(app, deps);
  heartbeatRoutes(app, deps);
  statusRoutes(app, deps);
}

function joinRoutes(app: App, deps: FleetDeps): void {
  const join = createJoin(deps);
  declarePublicRoute(app, {
    method: "GET",
    path: paths.ca,
    summary: "The certificate authority of this fleet (PEM); compare its fingerprint with the join token's",
    handler: ({ reply }) => reply.type("application/x-pem-file").send(deps.trust.caPem),
  });
  declareRoute(app, {
    method: "POST",
    path: paths.join,
    summary: "Take this host into the fleet; the bearer is a join token",
    permission: { access: "joiner" },
    body: JoinRequest,
    answer: JoinReply,
    handler: async ({ body, reply }, identity) => {
      if (identity.kind !== "joiner") throw new AppError("Forbidden", "a host joins with a join token");
      const joined = await deps.inTurn(NETWORKS_TURN, () => join(body, identity.tokenId));
      void reply.header("Cache-Control", "no-store");
      return joined;
    },
  });
}

function tokenRoutes(app: App, { trust, log }: FleetDeps): void {
  const admin = { access: "admin" } as const;
  declareRoute(app, {
    method: "POST",
    path: paths.joinTokens,
    summary: "Make a join token; the answer is the only place where it stands",
    permission: admin,
    body: JoinTokenRequest,
    answer: JoinTokenCreated,
    handler: async ({ body, reply }) => {
      const created = await trust.joinTokens.create(body);
      log.info({ tokenId: created.id, uses: created.usesLeft, expiresAt: created.expiresAt }, "join token made");
      void reply.code(201).header("Cache-Control", "no-store");
      return created;
    },
  });
  declareRoute(app, {
    method: "GET",
    path: paths.joinTokens,
    summary: "Join tokens that can still be used, without their secrets",
    permission: admin,
    answer: z.object({ items: z.array(JoinTokenInfo) }),
    handler: () => ({ items: trust.joinTokens.list() }),
  });
  declareRoute(app, {
    method: "DELETE",
    path: `${paths.joinTokens}/:id`,
    summary: "Revoke a join token",
    permission: admin,
    handler: async ({ params: { id = "" } }) => {
      if (!(await trust.joinTokens.delete(id)))
        throw new AppError("NotFound", `jointokens "${id.slice(0, 64)}" not found`, {
          hint: "`fairlead token list` shows those that there are",
        });
      log.info({ tokenId: id }, "join token revoked");
      return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details: { name: id, kind: "jointokens" } };
    },
  });
}

function heartbeatRoutes(app: App, { store, controllers, cluster }: FleetDeps): void {
  declareRoute(app, {
    method: "POST",
    path: "/apis/fairlead.dev/v1/nodes/:name/heartbeat",
    summary: "A host is alive, and says what its kernel holds; nothing is written to disk",
    permission: { access: "node", parameter: "name" },
    body: Heartbeat,
    answer: HeartbeatReply,
    handler: ({ params: { name = "" }, body }) => {
      if (!controllers.leases.of(name)) throw notFound({ kind: "Node", namespace: "", name });
      controllers.leases.heartbeat(name, body);
      if (body.applied !== undefined) controllers.receipts.report(name, { applied: body.applied, epoch: body.epoch, by: "heartbeat" });
      return { nextInMs: cluster.heartbeatIntervalMs };
    },
  });
  declareRoute(app, {
    method: "POST",
    path: "/apis/fairlead.dev/v1/namespaces/:namespace/workloads/:name/renew",
    summary: "A Workload with a ttl is still there; nothing is written to disk",
    permission: { access: "resource", kind: "Workload", verb: "update" },
    answer: z.object({ ttl: z.string().optional() }),
    handler: async ({ params: { namespace = "", name = "" } }, identity) => {
      const key = { kind: "Workload", namespace, name } as const;
      const workload = await store.get(key);
      if (workload?.kind !== "Workload") throw notFound(key);
      if (identity.kind === "node" && workload.spec.node !== identity.name)
        throw new AppError("Forbidden", `workloads.fairlead.dev "${name}" is forbidden: it belongs to another host`, {
          subject: { name, group: "fairlead.dev", kind: "workloads" },
        });
      controllers.ends.renew(`${namespace}/${name}`);
      return workload.spec.ttl === undefined ? {} : { ttl: workload.spec.ttl };
    },
  });
}

const ReceiptsQuery = z.object({
  revision: z.coerce.number().int().min(0),
  timeoutMs: z.coerce.number().int().min(0).max(120_000).default(30_000),
});

function statusRoutes(app: App, deps: FleetDeps): void {
  const { controllers, polls } = deps;
  declareRoute(app, {
    method: "GET",
    path: paths.receipts,
    summary: "Waits until all that follows from a revision is live on every Ready host",
    permission: { access: "authenticated" },
    query: ReceiptsQuery,
    answer: ReceiptsReply,
    handler: async ({ query: { revision, timeoutMs }, request, reply }) => {
      const poll = polls.open("receipts", request, reply);
      try {
        return await controllers.receipts.wait(revision, timeoutMs, poll.signal);
      } finally {
        poll.release();
      }
    },
  });
  declareRoute(app, {
    method: "GET",
    path: paths.status,
    summary: "The fleet at a glance",
    permission: { access: "authenticated" },
    answer: FleetStatus,
    handler: () => fleetStatus(deps),
  });
}
