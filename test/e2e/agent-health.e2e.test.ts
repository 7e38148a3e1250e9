import { performance } from "node:perf_hooks";
import { expect, test } from "vitest";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import {
  ask,
  aService,
  aWorkload,
  isSetUp,
  joinHost,
  openApi,
  rulesOf,
  serveHttp,
  servicesPath,
  startAgent,
  startServer,
  workloadsPath,
  type Api,
} from "./agent-rig.ts";

const check = { http: { port: "http", path: "/healthz" }, interval: "200ms", timeout: "500ms", fall: 2 };

/** Until nobody but `ids` answers on any of the hosts: ms. */
async function untilOnly(hosts: readonly Host[], ids: readonly string[], timeoutMs: number): Promise<number> {
  const begun = performance.now();
  await Promise.all(
    hosts.map((host) =>
      waitFor(
        async () => {
          const { answers, failures } = await ask(host, 30);
          return Object.keys(failures).length === 0 && Object.keys(answers).every((id) => ids.includes(id));
        },
        { what: `only ${ids.join()} to answer on ${host.name}`, timeoutMs, intervalMs: 20 },
      ),
    ),
  );
  return performance.now() - begun;
}

/** Until no rule of these hosts leads to the address any more: ms. */
async function untilGone(hosts: readonly Host[], ip: string): Promise<number> {
  const begun = performance.now();
  const isGone = async (host: Host): Promise<boolean> => !(await rulesOf(host)).some((rule) => rule.includes(`--to-destination ${ip}:`));
  await Promise.all(hosts.map((host) => waitFor(() => isGone(host), { what: `${ip} to leave ${host.name}`, timeoutMs: 10_000 })));
  return performance.now() - begun;
}

async function setStatus(host: Host, status: number): Promise<void> {
  await host.run("curl", ["-sS", `http://${host.ip}:8080/health`, "-d", JSON.stringify({ status })]);
}

const eventsOf = async (api: Api): Promise<string> => JSON.stringify((await api.call("GET", "/api/v1/events")).body);

test("a workload that fails its check leaves every kernel and comes back; one that is deregistered drains", async () => {
  await using fleet = await createFleet({ hosts: 3 });
  const [h1, h2, h3] = fleet.hosts;
  await startServer(h1);
  const api = await openApi(h1);
  for (const host of fleet.hosts) await joinHost(host, { api, server: h1 });
  await Promise.all([serveHttp(h1, "web-1"), serveHttp(h2, "web-2")]);
  await Promise.all(fleet.hosts.map((host) => startAgent(host)));
  await api.create(workloadsPath, aWorkload("web-1", h1, { checks: [check] }));
  await api.create(workloadsPath, aWorkload("web-2", h2, { checks: [check], graceSeconds: 3 }));
  await api.create(servicesPath, aService("web"));
  await isSetUp(h3, ["web-1", "web-2"]);

  await setStatus(h2, 503);
  // Two checks in a row, each up to its interval and timeout, and the news.
  expect(await untilOnly(fleet.hosts, ["web-1"], 5000)).toBeLessThan(3000);
  await setStatus(h2, 200);
  await isSetUp(h3, ["web-1", "web-2"]);

  // Deregistered: what is open goes on while it drains, and nothing new comes.
  const streams = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(() => h3.spawn("curl", ["-sSN", "http://10.96.0.50/stream"])));
  await Promise.all(streams.map((stream) => stream.waitForLine(/ 2$/)));
  await api.call("DELETE", `${workloadsPath}/web-2`);
  await untilOnly(fleet.hosts, ["web-1"], 3000);
  const slices = JSON.stringify((await api.call("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")).body);
  expect(slices).toContain('"terminating":true');
  await Promise.all(streams.map((stream) => stream.waitForLine(/ 10$/)));
  await waitFor(async () => (await api.call("GET", `${workloadsPath}/web-2`)).status === 404, {
    what: "web-2 to be gone",
    timeoutMs: 8000,
  });
});

test("a file in workloads.d registers a workload whose exec check decides, and takes it away when it goes", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [h1, h2] = fleet.hosts;
  await startServer(h1);
  const api = await openApi(h1);
  for (const host of fleet.hosts) await joinHost(host, { api, server: h1 });
  await serveHttp(h2, "web-2");
  await h2.run("mkdir", ["-p", "/etc/fairlead/workloads.d"]);
  await Promise.all(fleet.hosts.map((host) => startAgent(host)));
  await api.create(servicesPath, aService("web"));
  const manifest = aWorkload("web-2", h2, {
    checks: [{ exec: { command: ["test", "-e", "/run/web-is-well"] }, interval: "100ms", fall: 1 }],
    graceSeconds: 0,
  });
  await h2.run("tee", ["/etc/fairlead/workloads.d/web.yaml"], { input: JSON.stringify(manifest) });
  await h2.run("tee", ["/etc/fairlead/workloads.d/broken.yaml"], { input: "a: [" });
  const statusOf = async () =>
    (await api.call("GET", `${workloadsPath}/web-2`)).body as { spec?: { checks: unknown[] }; status?: { ready?: boolean } };
  await waitFor(async () => (await statusOf()).status?.ready === false, { what: "the verdict" });
  expect((await statusOf()).spec?.checks).toEqual([]);
  expect((await ask(h1, 3)).failures).toEqual({ ECONNREFUSED: 3 });
  await h2.run("touch", ["/run/web-is-well"]);
  await isSetUp(h1, ["web-2"]);
  await waitFor(async () => JSON.stringify((await api.call("GET", "/apis/fairlead.dev/v1/fleetstatus")).body).includes("broken.yaml"), {
    what: "the problem",
  });
  await h2.run("rm", ["/etc/fairlead/workloads.d/web.yaml"]);
  await waitFor(async () => (await api.call("GET", `${workloadsPath}/web-2`)).status === 404, {
    what: "web-2 to be gone",
    timeoutMs: 8000,
  });
});

test("a host that dies is out of every kernel in 6 s; when more than a third go silent at once nothing is removed, and an Event says why", async () => {
  await using fleet = await createFleet({ hosts: 4 });
  const [h1, h2, h3, h4] = fleet.hosts;
  await startServer(h1);
  const api = await openApi(h1);
  for (const host of fleet.hosts) await joinHost(host, { api, server: h1 });
  await Promise.all([serveHttp(h2, "web-2"), serveHttp(h3, "web-3"), serveHttp(h4, "web-4")]);
  await Promise.all(fleet.hosts.map((host) => startAgent(host)));
  for (const [name, host] of [
    ["web-2", h2],
    ["web-3", h3],
    ["web-4", h4],
  ] as const)
    await api.create(workloadsPath, aWorkload(name, host));
  await api.create(servicesPath, aService("web"));
  await isSetUp(h1, ["web-2", "web-3", "web-4"]);

  await fleet.cut(h4);
  expect(await untilGone([h1, h2, h3], h4.ip)).toBeLessThan(6000);
  await fleet.heal(h4);
  await isSetUp(h1, ["web-2", "web-3", "web-4"]);
  await isSetUp(h4, ["web-2", "web-3", "web-4"]);

  await Promise.all([fleet.cut(h3), fleet.cut(h4)]);
  await waitFor(async () => /hosts are silent.*MassFailureBrake|MassFailureBrake.*hosts are silent/.test(await eventsOf(api)), {
    what: "the Event",
    timeoutMs: 15_000,
  });
  const slices = JSON.stringify((await api.call("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices")).body);
  expect(slices).toContain(h3.ip);
  expect(slices).toContain(h4.ip);
  const { answers } = await ask(h2, 40, undefined, "--timeout-ms", "200");
  expect(Object.keys(answers)).toEqual(["web-2"]); // a third of the connections, as the others are really away
});
