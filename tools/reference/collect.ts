import { glob, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { format, resolveConfig } from "prettier";
import { Registry } from "prom-client";
import { z } from "zod";
import { registerDnsMetrics } from "#agent/probes/dns-metrics.ts";
import { addForwardMetrics } from "#agent/probes/forward-metrics.ts";
import { createAgentMetrics } from "#agent/probes/metrics.ts";
import { findConfig, openContext } from "#cli/context.ts";
import { createClient, type Client } from "#proto/client.ts";
import { paths } from "#proto/paths.ts";
import { readConfig } from "#server/config.ts";
import { startServer } from "#server/start.ts";
import { helpPages } from "./help-pages.ts";
import { keysIn, renderApi, renderCli, renderKeys, renderMetrics, type ApiRoute, type KeyFacts, type MetricFacts } from "./render.ts";

// Asks the code: a real server for its API and metrics, the agent's registry, the commands for their help, the sources for keys.

const root = join(import.meta.dirname, "../..");

/** File name → text. */
export async function reference(): Promise<Readonly<Record<string, string>>> {
  const [manuals, { routes, metrics }, keys] = await Promise.all([helpPages(), askServer(), keysOfSources()]);
  const pages = {
    "cli.md": renderCli(manuals),
    "api.md": renderApi(routes),
    "metrics.md": renderMetrics({
      "Server (`/metrics` of its address, with a credential)": metrics,
      "Agent (`http://127.0.0.1:10256/metrics`)": agentMetrics(),
    }),
    "labels-and-annotations.md": renderKeys(keys),
  };
  const style = await resolveConfig(join(root, "docs/reference/cli.md"));
  const formatted = Object.entries(pages).map(
    async ([name, text]) => [name, await format(text, { ...style, parser: "markdown" })] as const,
  );
  return Object.fromEntries(await Promise.all(formatted));
}

async function askServer(): Promise<{ readonly routes: readonly ApiRoute[]; readonly metrics: readonly MetricFacts[] }> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-reference-"));
  const kubeconfig = join(folder, "admin.yaml");
  const argv = ["--listen", "127.0.0.1:0", "--data-dir", join(folder, "data"), "--kubeconfig-out", kubeconfig, "--config", "/dev/null"];
  const config = readConfig({ argv, env: {}, print: () => undefined });
  if (!config) throw new Error("the server has no configuration");
  const server = await startServer(config, pino({ level: "silent" }));
  try {
    const client = createClient(await openContext(await findConfig([{ path: kubeconfig, named: "--kubeconfig" }])));
    const asked = { routes: await routesOf(client), metrics: await metricsOf(client) };
    await client.close();
    return asked;
  } finally {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

const Operation = z.looseObject({
  summary: z.string(),
  "x-fairlead-permission": z.looseObject({ access: z.string() }),
});
const OpenApi = z.looseObject({ paths: z.record(z.string(), z.record(z.string(), Operation)) });

async function routesOf({ transport }: Client): Promise<ApiRoute[]> {
  const { body } = await transport.send({ path: paths.openapi });
  const { paths: operations } = OpenApi.parse(body);
  return Object.entries(operations)
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(
        ([
          method,
          {
            summary,
            "x-fairlead-permission": { access },
          },
        ]) => ({
          method: method.toUpperCase(),
          path,
          summary,
          access,
        }),
      ),
    )
    .toSorted((a, b) => a.path.localeCompare(b.path, "en"));
}

async function metricsOf({ transport }: Client): Promise<MetricFacts[]> {
  const { body } = await transport.send({ path: paths.metrics });
  const labels = await labelsInSources();
  return Array.from(
    z
      .string()
      .parse(body)
      .matchAll(/^# HELP (fairlead_\w+) (.*)\n# TYPE \S+ (\w+)/gm),
    ([, name = "", help = "", kind = ""]) => ({
      name,
      help,
      kind,
      labels: labels.get(name) ?? [],
    }),
  ).toSorted((a, b) => a.name.localeCompare(b.name, "en"));
}

/** An answer has only the labels of what has happened. */
async function labelsInSources(): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, readonly string[]>();
  for await (const file of glob("server/**/*.ts", { cwd: root })) {
    const text = await readFile(join(root, file), "utf8");
    for (const [, name = "", labels = ""] of text.matchAll(/name: "(fairlead_\w+)",\s*help: "[^"]*",\s*labelNames: \[([^\]]*)\]/g))
      found.set(name, labels.match(/\w+/g)?.toSorted() ?? []);
  }
  return found;
}

function agentMetrics(): MetricFacts[] {
  const { registry } = createAgentMetrics({ families: ["IPv4"], wanted: () => 0, applied: () => 0, waitingMs: () => 0 });
  const never = (): never => {
    throw new Error("nobody asks for the values here");
  };
  registerDnsMetrics(registry, { stats: never, stateAgeMs: never });
  addForwardMetrics(registry, never);
  return declared(registry);
}

/** What prom-client's own types do not tell. */
const Declared = z.looseObject({ name: z.string(), help: z.string(), labelNames: z.array(z.string()).default([]) });

function declared(registry: Registry): MetricFacts[] {
  return registry
    .getMetricsAsArray()
    .map((metric) => ({ kind: metric.constructor.name.toLowerCase(), ...Declared.parse({ ...metric }) }))
    .filter(({ name }) => name.startsWith("fairlead_"))
    .map(({ name, help, kind, labelNames }) => ({ name, help, kind, labels: labelNames.filter((label) => label !== "le").toSorted() }))
    .toSorted((a, b) => a.name.localeCompare(b.name, "en"));
}

async function keysOfSources(): Promise<readonly KeyFacts[]> {
  const found = new Map<string, KeyFacts>();
  const files = await Array.fromAsync(glob("{proto,server,agent,cli/apply}/**/*.ts", { cwd: root }));
  for (const file of files.toSorted())
    for (const fact of file.endsWith(".test.ts") ? [] : keysIn(await readFile(join(root, file), "utf8")))
      if ((found.get(fact.key)?.says ?? "") === "") found.set(fact.key, fact); // one of two places may have said it
  return [...found.values()].toSorted((a, b) => a.key.localeCompare(b.key, "en"));
}
