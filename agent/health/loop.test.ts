import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { AppError } from "#proto/error.ts";
import { Check, Workload } from "#proto/workload.ts";
import { waitFor } from "#test/wait-for.ts";
import { createHealth } from "./loop.ts";
import type { ReadyStatus } from "./workload-health.ts";

async function aServer() {
  const shown = { status: 200, asked: 0 };
  const server = createServer((_, reply) => {
    shown.asked++;
    reply.writeHead(shown.status).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { shown, port: (server.address() as AddressInfo).port };
}

// Workloads may not have loopback addresses; here the node's own address is one.
const aWorkload = (port: number, more: { checks?: object[]; status?: object; uid?: string } = {}): Workload =>
  Workload.parse({
    apiVersion: "fairlead.dev/v1",
    kind: "Workload",
    metadata: { name: "web-1", namespace: "default", uid: more.uid ?? "u1" },
    spec: {
      node: "vm-1",
      ports: [{ name: "http", port }],
      checks: more.checks ?? [{ http: { port: "http" }, interval: "100ms", timeout: "1s", fall: 2 }],
    },
    status: more.status ?? {},
  });

function start(workload: Workload, { localChecks = [], failFirst = 0 }: { localChecks?: Check[]; failFirst?: number } = {}) {
  const workloads = new Map([["default/web-1", workload]]);
  const reports: ReadyStatus[] = [];
  let failures = failFirst;
  const health = createHealth({
    workloads,
    localChecks: () => localChecks,
    nodeAddress: () => "127.0.0.1",
    report: async (_, status) => {
      if (failures-- > 0) throw new AppError("ServiceUnavailable", "the server is down");
      reports.push(status);
    },
    log: { info: () => undefined, warn: () => undefined },
  });
  const ending = new AbortController();
  const ended = health.run(ending.signal);
  onTestFinished(async () => {
    ending.abort();
    await ended;
  });
  const set = (next: Workload | undefined): void => {
    if (next) workloads.set("default/web-1", next);
    else workloads.delete("default/web-1");
    health.touched(["default/web-1"]);
  };
  return { reports, set };
}

test("only transitions are reported: ready, then not ready with the reason, then ready again", async () => {
  const { shown, port } = await aServer();
  const { reports } = start(aWorkload(port));
  await waitFor(() => reports.length === 1, { what: "ready" });
  await waitFor(() => shown.asked > 5, { what: "some more checks" });
  shown.status = 503;
  await waitFor(() => reports.length === 2, { what: "not ready" });
  shown.status = 200;
  await waitFor(() => reports.length === 3, { what: "ready again" });
  expect(reports.map(({ ready, reason }) => [ready, reason])).toEqual([
    [true, "ChecksPassed"],
    [false, "BadStatus"],
    [true, "ChecksPassed"],
  ]);
  expect(Date.parse(reports[1]?.since ?? "")).toBeGreaterThan(0);
});

test("a workload that has never passed is reported not ready", async () => {
  const { shown, port } = await aServer();
  shown.status = 500;
  const { reports } = start(aWorkload(port));
  await waitFor(() => reports.length === 1, { what: "the report" });
  expect(reports[0]).toMatchObject({ ready: false, reason: "BadStatus" });
});

test("after a restart the stored status holds until a check says otherwise, and is not reported again", async () => {
  const { shown, port } = await aServer();
  const { reports } = start(aWorkload(port, { status: { ready: true } }));
  await waitFor(() => shown.asked > 3, { what: "some checks" });
  expect(reports).toEqual([]);
  shown.status = 500;
  await waitFor(() => reports.length === 1, { what: "not ready" });
});

test("a report that fails is tried again until the server has it", async () => {
  const { port } = await aServer();
  const { reports } = start(aWorkload(port), { failFirst: 2 });
  await waitFor(() => reports.length === 1, { what: "the report" });
});

test("checks end with the workload", async () => {
  const { shown, port } = await aServer();
  const { reports, set } = start(aWorkload(port));
  await waitFor(() => reports.length === 1, { what: "ready" });
  set(undefined);
  await waitFor(
    async () => {
      const before = shown.asked;
      await new Promise((resolve) => setTimeout(resolve, 100)); // five intervals
      return shown.asked === before;
    },
    { what: "no more questions" },
  );
});

test("a status that the server holds wrong, as from an old backup, is told again", async () => {
  const { port } = await aServer();
  const { reports, set } = start(aWorkload(port));
  await waitFor(() => reports.length === 1, { what: "ready" });
  set(aWorkload(port, { status: { ready: false } }));
  await waitFor(() => reports.length === 2, { what: "ready once more" });
  expect(reports[1]).toEqual(reports[0]);
});

test("an exec check that came through the API is not run; one from a file of this host is", async () => {
  const { port } = await aServer();
  const exec = { exec: { command: ["false"] }, interval: "100ms" };
  const fromApi = start(aWorkload(port, { checks: [exec, { http: { port }, interval: "100ms" }] }));
  await waitFor(() => fromApi.reports[0]?.ready === true, { what: "ready by the http check alone" });
  const fromFile = start(aWorkload(port, { checks: [] }), { localChecks: [Check.parse(exec)] });
  await waitFor(() => fromFile.reports.length === 1, { what: "the report" });
  expect(fromFile.reports[0]).toMatchObject({ ready: false, reason: "CommandFailed" });
});

test("with two checks it is ready when both have passed", async () => {
  const { port } = await aServer();
  const checks = [
    { http: { port }, interval: "100ms" },
    { tcp: { port }, interval: "100ms", rise: 4 },
  ];
  const { reports } = start(aWorkload(port, { checks }));
  await waitFor(() => reports.at(-1)?.ready === true, { what: "ready" });
  expect(reports.map(({ ready, reason }) => [ready, reason])).toEqual([
    [false, "ChecksPending"],
    [true, "ChecksPassed"],
  ]);
});
