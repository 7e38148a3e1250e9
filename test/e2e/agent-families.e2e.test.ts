import { expect, test } from "vitest";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { ask, fairlead, joinHost, openApi, servicesPath, startServer, type Api } from "./agent-rig.ts";
import { faultyTools, probe } from "./agent-rig-probes.ts";

const RANGES = ["--service-cidr", "10.96.0.0/16", "--service-cidr", "fd00:10:96::/112"];
const V4 = "http://10.96.0.50/";
const V6 = "http://[fd00:10:96::50]/";

const answersAt = async (host: Host, url: string): Promise<boolean> => {
  const { answers } = await ask(host, 1, url, "--timeout-ms", "500");
  return Object.keys(answers).length > 0;
};
const eventsOf = async (api: Api, reason: string): Promise<string> => {
  const { body } = await api.call("GET", "/api/v1/events");
  const { items } = body as { items: { reason: string; message: string }[] }; // as proto/event.ts says
  return items
    .filter((event) => event.reason === reason)
    .map(({ message }) => message)
    .join("\n");
};

/** A Service of both families with one endpoint on the host, by hand. */
async function serveBoth(api: Api, host: Host): Promise<void> {
  await api.create(servicesPath, {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "web", namespace: "default" },
    spec: {
      ports: [{ port: 80, targetPort: 8080 }],
      ipFamilyPolicy: "RequireDualStack",
      clusterIP: "10.96.0.50",
      clusterIPs: ["10.96.0.50", "fd00:10:96::50"],
    },
  });
  for (const [addressType, address] of [
    ["IPv4", host.ip],
    ["IPv6", host.ip6],
  ])
    await api.create("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: `web-${addressType?.toLowerCase()}`, namespace: "default", labels: { "kubernetes.io/service-name": "web" } },
      addressType,
      ports: [{ port: 8080, protocol: "TCP" }],
      endpoints: [{ addresses: [address], conditions: { ready: true }, nodeName: host.name }],
    });
}

test("one family that fails leaves the other alone, and /readyz, an Event and the receipt say so until it is mended", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [h1, h2] = fleet.hosts;
  await startServer(h1, ...RANGES);
  const api = await openApi(h1);
  await joinHost(h2, { api, server: h1 });
  await serveBoth(api, h1);
  const echo = await h1.spawn("node", [
    "test/fleet/http-echo.ts",
    "--id",
    "web",
    "--listen",
    `${h1.ip}:8080`,
    "--listen",
    `[${h1.ip6}]:8080`,
  ]);
  await echo.waitForLine(/^listening/);

  const tools = await faultyTools(h2, ["iptables-nft-restore", "ip6tables-nft-restore", "ip6tables-legacy-restore"]);
  const start = (...flags: string[]) =>
    h2.spawn(fairlead, ["agent", "--dataplane", "iptables-nft", ...flags], { env: { PATH: tools.path } });
  await tools.fail("^ip6tables-nft-restore .*-w");
  const agent = await start();

  // IPv4 works; IPv6 is what /readyz, the heartbeat, the Event and the metrics tell of, and the receipt waits.
  await waitFor(() => answersAt(h2, V4), { what: "IPv4", timeoutMs: 20_000 });
  expect(await answersAt(h2, V6)).toBe(false);
  const unready = await waitFor(
    async () => {
      const found = await probe(h2, "/readyz");
      return found.body.includes("broken for a test") ? found : undefined;
    },
    { what: "/readyz to say so" },
  );
  expect(unready.status).toBe(503);
  expect(unready.body).toMatch(/^\[\+\]IPv4 data plane ok: iptables: /m);
  expect(unready.body).toMatch(/^\[-\]IPv6 data plane failed: .*broken for a test/m);
  expect(await probe(h2, "/livez")).toEqual({ status: 200, body: "ok" });
  await waitFor(async () => /IPv6.*broken for a test/.test(await eventsOf(api, "RulesNotApplied")), { what: "the Event" });
  const metrics = (await probe(h2, "/metrics")).body;
  expect(metrics).toMatch(/^fairlead_agent_write_failures_total\{family="IPv6"\} [1-9]/m);
  expect(metrics).toMatch(/^fairlead_agent_write_failures_total\{family="IPv4"\} 0$/m);
  expect(metrics).toMatch(/^fairlead_agent_applied_revision 0$/m);
  const status = async () => JSON.stringify((await api.call("GET", "/apis/fairlead.dev/v1/fleetstatus")).body);
  await waitFor(async () => /IPv6 data plane: .*broken for a test/.test(await status()), { what: "the problem of the host" });

  await tools.fail(undefined);
  await waitFor(() => answersAt(h2, V6), { what: "IPv6", timeoutMs: 20_000 });
  await waitFor(async () => (await probe(h2, "/readyz")).status === 200, { what: "/readyz" });
  expect(await probe(h2, "/readyz")).toEqual({ status: 200, body: "ok" });

  // A write that fails later: what was there stays, the change comes when it can.
  await tools.fail("restore");
  const patched = await api.call("PATCH", `${servicesPath}/web`, { spec: { ports: [{ port: 81, targetPort: 8080, protocol: "TCP" }] } });
  expect(patched).toMatchObject({ status: 200 });
  await waitFor(async () => (await probe(h2, "/readyz")).status === 503, { what: "/readyz to fail" });
  expect(await answersAt(h2, V4)).toBe(true);
  expect(await answersAt(h2, V6)).toBe(true);
  await tools.fail(undefined);
  await waitFor(() => answersAt(h2, V4.replace(/\/$/, ":81/")), { what: "the change", timeoutMs: 20_000 });
  await waitFor(async () => (await probe(h2, "/readyz")).status === 200, { what: "/readyz", timeoutMs: 20_000 });
  await agent.stop();

  // No driver for IPv6 at all: a problem that nobody waits for, and this host is ready for what it can do.
  await tools.fail("^ip6tables-(nft|legacy)-restore");
  const half = await start("--healthz-listen", "127.0.0.1:10999");
  await half.waitForLine(/the data plane cannot work here yet/, { timeoutMs: 20_000 });
  await half.waitForLine(/programmed the kernel/, { timeoutMs: 20_000 });
  const verbose = await waitFor(
    async () => {
      const found = await probe(h2, "/readyz?verbose", "127.0.0.1:10999");
      return found.status === 200 ? found : undefined;
    },
    { what: "/readyz" },
  );
  expect(verbose.body).toMatch(/^\[\+\]IPv6 data plane ok: no IPv6 here: .*neither ip6tables-nft nor ip6tables-legacy/m);
  expect((await probe(h2, "/readyz")).status).toBe(0); // it is elsewhere now
  const numberOf = (text: string, name: string): number => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]);
  await waitFor(
    async () => {
      const text = (await probe(h2, "/metrics", "127.0.0.1:10999")).body;
      const applied = numberOf(text, "fairlead_agent_applied_revision");
      return applied > 0 && applied === numberOf(text, "fairlead_agent_wanted_revision");
    },
    { what: "the receipt" },
  );
  await half.stop();
});
