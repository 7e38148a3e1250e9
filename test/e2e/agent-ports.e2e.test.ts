import { expect, test } from "vitest";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { ask, joinHost, openApi, serveHttp, servicesPath, startAgent, startServer, type Api } from "./agent-rig.ts";
import { probe } from "./agent-rig-probes.ts";

const NODE_PORT = 30_080;
const UDP_PORT = 30_053;
const HEALTH_PORT = 32_001;

const service = (name: string, spec: object) => ({ apiVersion: "v1", kind: "Service", metadata: { name, namespace: "default" }, spec });
const slice = (name: string, host: Host, ports: object[]) => ({
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name, namespace: "default", labels: { "kubernetes.io/service-name": name } },
  addressType: "IPv4",
  ports,
  endpoints: [{ addresses: [host.ip], conditions: { ready: true }, nodeName: host.name }],
});
const slicesPath = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
const answers = async (host: Host, url: string): Promise<string[]> =>
  Object.keys((await ask(host, 2, url, "--timeout-ms", "1000")).answers);
const askUdp = async (host: Host, to: string): Promise<string> =>
  (await host.run("node", ["test/fleet/udp-ask.ts", "--to", to, "--timeout-ms", "1000"])).stdout.split(" ")[0] ?? "";
const eventsText = async (api: Api): Promise<string> => JSON.stringify((await api.call("GET", "/api/v1/events")).body);

test("node ports are at 127.0.0.1 too, and a load balancer learns which hosts have endpoints", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [h1, h2] = fleet.hosts;
  await startServer(h1);
  const api = await openApi(h1);
  for (const host of [h1, h2]) await joinHost(host, { api, server: h1 });
  const squatter = await h2.spawn("node", [
    "test/fleet/http-echo.ts",
    "--id",
    "other",
    "--listen",
    `127.0.0.1:${NODE_PORT}`,
    "--listen",
    `0.0.0.0:${HEALTH_PORT}`,
  ]);
  await squatter.waitForLine(/^listening/);
  await serveHttp(h1, "web");
  const udp = await h1.spawn("node", ["test/fleet/udp-echo.ts", "--id", "log", "--listen", `${h1.ip}:5300`]);
  await udp.waitForLine(/^listening/);
  await api.create(servicesPath, service("web", { type: "NodePort", ports: [{ port: 80, targetPort: 8080, nodePort: NODE_PORT }] }));
  await api.create(slicesPath, slice("web", h1, [{ port: 8080, protocol: "TCP" }]));
  await api.create(
    servicesPath,
    service("log", { type: "NodePort", ports: [{ port: 53, targetPort: 5300, protocol: "UDP", nodePort: UDP_PORT }] }),
  );
  await api.create(slicesPath, slice("log", h1, [{ port: 5300, protocol: "UDP" }]));
  const local = { type: "LoadBalancer", externalTrafficPolicy: "Local", healthCheckNodePort: HEALTH_PORT };
  await api.create(servicesPath, service("edge", { ...local, ports: [{ port: 80, targetPort: 8080, nodePort: 30_081 }] }));
  await api.create(slicesPath, slice("edge", h1, [{ port: 8080, protocol: "TCP" }]));
  const [, agent] = await Promise.all([startAgent(h1), startAgent(h2)]);

  // From outside by the kernel, from 127.0.0.1 by the agent; UDP likewise.
  await waitFor(async () => (await answers(fleet.out, `http://${h2.ip}:${NODE_PORT}/`)).includes("web"), {
    what: "the node port",
    timeoutMs: 15_000,
  });
  await waitFor(async () => (await answers(h1, `http://127.0.0.1:${NODE_PORT}/`)).includes("web"), { what: "the node port on loopback" });
  await waitFor(async () => (await askUdp(h1, `127.0.0.1:${UDP_PORT}`)) === "log", { what: "the UDP node port on loopback" });
  const asked = await ask(h1, 100, `http://127.0.0.1:${NODE_PORT}/`);
  expect(asked.failures).toEqual({});
  // The kernel lets nobody else at loopback.
  expect((await h1.run("sysctl", ["-n", "net.ipv4.conf.all.route_localnet", "net.ipv4.conf.eth0.route_localnet"])).stdout).toBe("0\n0");

  // Somebody else has the ports on h2: the owner hears of it, the rest works, and they are taken when they become free.
  expect(await answers(h2, `http://127.0.0.1:${NODE_PORT}/`)).toEqual(["other"]);
  await waitFor(async () => /PortNotOpened.*node port 127\.0\.0\.1:30080\/TCP of default\/web/.test(await eventsText(api)), {
    what: "the Event",
  });
  expect(await eventsText(api)).toMatch(/health check port of default\/edge cannot be opened on this host: .*EADDRINUSE/);
  await squatter.stop();
  await waitFor(async () => (await answers(h2, `http://127.0.0.1:${NODE_PORT}/`)).includes("web"), {
    what: "the port that became free",
    timeoutMs: 15_000,
  });

  // The health check: 200 where the endpoint is.
  const health = (host: Host) => probe(fleet.out, "/healthz", `${host.ip}:${HEALTH_PORT}`);
  await waitFor(async () => (await health(h1)).status === 200, { what: "the health check of h1" });
  expect(JSON.parse((await health(h1)).body)).toEqual({
    service: { namespace: "default", name: "edge" },
    localEndpoints: 1,
    serviceProxyHealthy: true,
  });
  await waitFor(async () => (await health(h2)).status === 503, { what: "the health check of h2", timeoutMs: 15_000 });
  expect(JSON.parse((await health(h2)).body)).toMatchObject({ localEndpoints: 0, serviceProxyHealthy: true });
  const { stdout: headers } = await fleet.out.run("curl", ["-sI", `http://${h1.ip}:${HEALTH_PORT}/`]);
  expect(headers.toLowerCase()).toContain("x-load-balancing-endpoint-weight: 1");

  // It follows: the endpoint moves to h2.
  const { endpoints } = slice("edge", h2, []);
  expect(await api.call("PATCH", `${slicesPath}/edge`, { endpoints })).toMatchObject({ status: 200 });
  await waitFor(async () => (await health(h2)).status === 200, { what: "h2 to have the endpoint" });
  await waitFor(async () => (await health(h1)).status === 503, { what: "h1 to have it no more" });

  // Node ports in a prefix only: not at loopback, and the health check at the same addresses.
  await agent.stop();
  const narrow = await startAgent(h2, "--node-port-address", "172.30.0.0/16", "--healthz-listen", "off");
  await waitFor(async () => (await answers(fleet.out, `http://${h2.ip}:${NODE_PORT}/`)).includes("web"), {
    what: "the node port",
    timeoutMs: 15_000,
  });
  await waitFor(async () => (await health(h2)).status === 200, { what: "the health check" });
  expect((await probe(h2, "/", `127.0.0.1:${NODE_PORT}`)).status).toBe(0);
  expect((await probe(h2, "/", `127.0.0.1:${HEALTH_PORT}`)).status).toBe(0);
  expect((await probe(h2, "/livez")).status).toBe(0);
  await narrow.stop();

  // At loopback only: by the virtual IP.
  const inner = await startAgent(h2, "--node-port-address", "127.0.0.0/8");
  await waitFor(async () => (await answers(h2, `http://127.0.0.1:${NODE_PORT}/`)).includes("web"), {
    what: "the node port on loopback",
    timeoutMs: 15_000,
  });
  expect((await probe(fleet.out, "/", `${h2.ip}:${NODE_PORT}`)).status).toBe(0);

  // The Services go, and with them the ports.
  for (const name of ["web", "log", "edge"]) await api.call("DELETE", `${servicesPath}/${name}`);
  await waitFor(async () => !/:3[02]\d{3} /.test((await h2.run("ss", ["-Hltun"])).stdout), { what: "the ports to be closed" });
  await inner.stop();
});
