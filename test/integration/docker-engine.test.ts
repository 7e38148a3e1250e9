import { createServer, type ServerResponse } from "node:http";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import { pino } from "pino";
import { expect, test } from "vitest";
import { createDockerDiscovery, type DockerDiscovery } from "#agent/docker/discovery.ts";
import { openEngine } from "#agent/docker/engine.ts";
import { waitFor } from "../wait-for.ts";

// What a real engine does not do when a test wants it: to fail once, to keep its stream of events open, to get stuck at one container.

const ids = ["a", "b", "c"].map((letter) => letter.repeat(12));

interface Engine {
  readonly path: string;
  /** Requests for the list of containers, and for events. */
  lists: number;
  streams: number;
  /** Answers with 500. */
  fails: (path: string) => boolean;
  tell(event: unknown): void;
  /** Ends all streams of events, as a daemon does that is restarted. */
  hangUp(): void;
  startedAt: string;
}

async function engineOf(use: (engine: Engine, discovery: DockerDiscovery) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-engine-"));
  const open = new Set<ServerResponse>();
  const engine: Engine = {
    path: join(folder, "docker.sock"),
    lists: 0,
    streams: 0,
    fails: () => false,
    tell: (event) => {
      for (const stream of open) stream.write(`${JSON.stringify(event)}\n`);
    },
    hangUp: () => {
      for (const stream of open) stream.end();
    },
    startedAt: "2026-01-01T00:00:00Z",
  };
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? "/", "http://docker");
    if (pathname === "/containers/json") engine.lists += 1;
    if (engine.fails(pathname)) response.writeHead(500).end("{}");
    else if (pathname === "/events") {
      engine.streams += 1;
      open.add(response);
      response.on("close", () => open.delete(response));
      response.writeHead(200).flushHeaders();
    } else if (pathname === "/containers/json") response.end(JSON.stringify(ids.map((Id) => ({ Id }))));
    else if (pathname === "/networks") response.end("[]");
    else response.end(JSON.stringify(container(pathname.split("/")[2] ?? "", engine.startedAt)));
  }).listen(engine.path);
  await once(server, "listening");
  const stop = new AbortController();
  const discovery = createDockerDiscovery({
    engine: openEngine(engine.path),
    nodeName: "h1",
    nodeIps: () => ["192.0.2.1"],
    own: new Map(),
    report: () => Promise.resolve(),
    onChange: () => undefined,
    log: pino({ level: "silent" }),
  });
  const running = discovery.run(stop.signal);
  try {
    await use(engine, discovery);
  } finally {
    stop.abort();
    await running;
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true });
  }
}

function container(id: string, StartedAt: string): unknown {
  return {
    Id: id,
    Name: `/${id.slice(0, 1)}`,
    State: { Running: true, StartedAt },
    Config: { Labels: { "fairlead.service": "web", "fairlead.port": "80" }, StopSignal: "SIGRTMIN+3" },
    HostConfig: { NetworkMode: "host" },
    NetworkSettings: { Ports: {}, Networks: {} },
  };
}

function names(discovery: DockerDiscovery): string[] {
  return Array.from(discovery.wanted(), ([, { metadata }]) => metadata.name);
}

test("an engine that failed once, and keeps its events open, is asked again", async () => {
  await engineOf(async (engine, discovery) => {
    let failures = 0;
    engine.fails = (path) => path === "/containers/json" && failures++ < 1;
    await waitFor(() => engine.streams === 2 && names(discovery).length === 3, { what: "all containers", timeoutMs: 10_000 });
    expect(discovery.problems()).toEqual([]);
    expect(engine.lists).toBeGreaterThanOrEqual(2);
  });
});

test("a container that the engine has no answer for hides no other", async () => {
  await engineOf(async (engine, discovery) => {
    engine.fails = (path) => path === `/containers/${ids[0]}/json`;
    await waitFor(() => names(discovery).join() === "b-h1,c-h1", { what: "the other two", timeoutMs: 10_000 });
    await waitFor(() => discovery.problems().some((problem) => problem.includes("500")), { what: "the fault", timeoutMs: 10_000 });
    engine.fails = () => false;
    await waitFor(() => names(discovery).length === 3 && discovery.problems().length === 0, { what: "all of them", timeoutMs: 20_000 });
  });
});

test("a real-time stop signal is a stop: the container drains", async () => {
  await engineOf(async (engine, discovery) => {
    await waitFor(() => names(discovery).length === 3, { what: "all containers", timeoutMs: 10_000 });
    const kill = (signal: string) =>
      engine.tell({ Type: "container", Action: "kill", Actor: { ID: ids[1], Attributes: { signal, "fairlead.service": "web" } } });
    kill("10");
    kill("37");
    await waitFor(() => names(discovery).join() === "a-h1,c-h1", { what: "b to drain", timeoutMs: 10_000 });
  });
});

test("a container that was told to stop, and was started again while nobody could hear it, is back at once", async () => {
  await engineOf(async (engine, discovery) => {
    await waitFor(() => names(discovery).length === 3, { what: "all containers", timeoutMs: 10_000 });
    engine.tell({ Type: "container", Action: "kill", Actor: { ID: ids[1], Attributes: { signal: "37", "fairlead.service": "web" } } });
    await waitFor(() => names(discovery).join() === "a-h1,c-h1", { what: "b to drain", timeoutMs: 10_000 });
    engine.startedAt = "2026-01-01T00:00:01Z";
    engine.hangUp();
    await waitFor(() => names(discovery).length === 3, { what: "all of them", timeoutMs: 10_000 });
  });
});
