import { z } from "zod";
import { AppError } from "#proto/error.ts";
import { paths } from "#proto/paths.ts";
import { KUBERNETES_VERSION } from "#server/version.ts";
import type { Registry } from "../prometheus.ts";
import { declarePublicRoute, declareRoute, type App } from "./route.ts";

export interface ProbeDeps {
  readonly registry: Registry;
  /** Why requests should go elsewhere for now; undefined when all is well. */
  readonly unready: () => string | undefined;
}

/** /livez, /readyz, /healthz, /version and /metrics. */
export function probeRoutes(app: App, { registry, unready }: ProbeDeps): void {
  const Ok = z.literal("ok");
  declarePublicRoute(app, {
    method: "GET",
    path: paths.livez,
    summary: "ok while the process serves requests",
    answer: Ok,
    handler: ({ reply }) => reply.type("text/plain").send("ok"),
  });
  for (const path of [paths.readyz, "/healthz"])
    declarePublicRoute(app, {
      method: "GET",
      path,
      summary: "ok while the server can do its work",
      answer: Ok,
      handler: ({ reply }) => {
        const why = unready();
        if (why !== undefined) throw new AppError("ServiceUnavailable", why, { retryAfterSeconds: 1 });
        return reply.type("text/plain").send("ok");
      },
    });
  declarePublicRoute(app, {
    method: "GET",
    path: paths.version,
    summary: "The version, in the form that Kubernetes' clients read",
    answer: z.looseObject({ major: z.string(), minor: z.string(), gitVersion: z.string(), platform: z.string() }),
    handler: () => KUBERNETES_VERSION,
  });
  declareRoute(app, {
    method: "GET",
    path: paths.metrics,
    summary: "Metrics in Prometheus' text format",
    permission: { access: "authenticated" },
    answer: z.string(),
    handler: async ({ reply }) => reply.type(registry.contentType).send(await registry.metrics()),
  });
}
