import { performance } from "node:perf_hooks";
import { expect, test } from "vitest";
import { createFleet } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import {
  ask,
  aService,
  aWorkload,
  fairlead,
  isSetUp,
  joinHost,
  openApi,
  rulesOf,
  serveHttp,
  servicesPath,
  startAgent,
  startServer,
  workloadsPath,
} from "./agent-rig.ts";

test("one virtual IP and one name on every host, over restarts of the agent, a dead server and a reboot, until cleanup leaves nothing", async () => {
  await using fleet = await createFleet({ hosts: 3, containersPerHost: 1 });
  const [h1, h2, h3] = fleet.hosts;
  const untouched = {
    save: (await h3.run("iptables-save")).stdout,
    rules: await rulesOf(h3),
    lo: (await h3.run("ip", ["-br", "address", "show", "dev", "lo"])).stdout,
  };
  const server = await startServer(h1);
  const api = await openApi(h1);
  for (const host of [h1, h2, h3]) await joinHost(host, { api, server: h1 });
  const [, , agent] = await Promise.all([startAgent(h1), startAgent(h2), startAgent(h3)]);
  await Promise.all([serveHttp(h1, "web-1"), serveHttp(h2, "web-2")]);
  await api.create(workloadsPath, aWorkload("web-1", h1));
  await api.create(workloadsPath, aWorkload("web-2", h2));
  await api.create(servicesPath, aService("web"));
  await isSetUp(h3, ["web-1", "web-2"]);

  // Equal shares: 400 fair coins fall outside 150..250 once in 10^6 runs.
  const { answers, failures } = await ask(h3, 400);
  expect(failures).toEqual({});
  expect(Math.min(answers["web-1"] ?? 0, answers["web-2"] ?? 0)).toBeGreaterThan(150);

  // From the host and from a container, by name.
  const [container] = h3.containers;
  if (!container) throw new Error("no container");
  for (const client of [h3, container]) {
    const { stdout } = await client.run("dig", ["+short", "+time=1", "@10.96.0.10", "web.default.svc.cluster.local"]);
    expect(stdout).toBe("10.96.0.50");
    expect((await ask(client, 10)).failures).toEqual({});
  }

  // A restart of the agent: a stream that is open goes on, and new connections are made all the while.
  const stream = await h3.spawn("curl", ["-sSN", "http://10.96.0.50/stream"]);
  await stream.waitForLine(/ 3$/);
  const meanwhile = ask(h3, 300, undefined, "--every-ms", "10");
  const before = performance.now();
  expect(await agent.stop()).toEqual({ exitCode: 0, signal: null });
  expect(performance.now() - before).toBeLessThan(2000);
  const rules = await rulesOf(h3);
  expect(rules.join()).toContain("FL-SERVICES");
  const restarted = await startAgent(h3);
  expect((await meanwhile).failures).toEqual({});
  const lines = Number(/ (\d+)$/.exec((await stream.output()).trim())?.[1]);
  await stream.waitForLine(new RegExp(` ${lines + 5}$`));

  // The nat table flushed: repaired within a second.
  await waitFor(
    async () => (await h3.run("dig", ["+short", "+time=1", "@10.96.0.10", "web.default.svc.cluster.local"])).stdout === "10.96.0.50",
    { what: "DNS" },
  );
  const flushedAt = performance.now();
  await h3.run("iptables", ["-t", "nat", "-F"]);
  await waitFor(async () => (await h3.run("curl", ["-s", "-m", "0.2", "http://10.96.0.50/"], { reject: false })).exitCode === 0, {
    what: "the repair",
    intervalMs: 1,
  });
  expect(performance.now() - flushedAt).toBeLessThan(1000);

  // The server dies: traffic and DNS go on; a host that reboots serves from what it knew.
  await server.kill();
  expect((await ask(h3, 50)).failures).toEqual({});
  await restarted.kill();
  await h3.run(fairlead, ["agent", "cleanup", "--dry-run"]); // only looks
  await h3.run("iptables-restore", [], { input: untouched.save }); // what the boot scripts of a host leave
  await h3.run("iptables", ["-F"]);
  await h3.run("ip", ["address", "del", "10.96.0.10/32", "dev", "lo"]);
  expect((await h3.run("curl", ["-s", "-m", "0.5", "http://10.96.0.50/"], { reject: false })).exitCode).not.toBe(0);
  const booted = await startAgent(h3);
  expect((await ask(h3, 50)).failures).toEqual({});
  await waitFor(
    async () =>
      (await h3.run("dig", ["+short", "+time=1", "@10.96.0.10", "web.default.svc.cluster.local"], { reject: false })).stdout ===
      "10.96.0.50",
    { what: "DNS from disk" },
  );

  // The server comes back, and changes arrive again.
  await startServer(h1);
  await waitFor(async () => (await api.call("DELETE", `${workloadsPath}/web-1`)).status < 300, { what: "the server to take a change" });
  await isSetUp(h3, ["web-2"]);

  await booted.stop();
  await h3.run(fairlead, ["agent", "cleanup", "--purge"]);
  expect(await rulesOf(h3)).toEqual(untouched.rules);
  expect((await h3.run("ip", ["-br", "address", "show", "dev", "lo"])).stdout).toBe(untouched.lo);
  for (const file of ["/etc/fairlead/node.yaml", "/etc/fairlead/agent.yaml", "/var/lib/fairlead/agent"])
    expect((await h3.run("test", ["-e", file], { reject: false })).exitCode).toBe(1);
});
