import { expect, test } from "vitest";
import { createFleet } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { aService, fairlead, joinHost, openApi, rulesOf, servicesPath, startAgent, startServer } from "./agent-rig.ts";

const STATE = "/var/lib/fairlead/agent";

test("a host has one agent, also without its state folder, which is made anew; a host that still asks the agent is told so at cleanup", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [h1, h2] = fleet.hosts;
  const agent = (...args: string[]) => h2.run(fairlead, ["agent", ...args], { reject: false });
  await startServer(h1);
  const api = await openApi(h1);
  await joinHost(h2, { api, server: h1 });
  const running = await startAgent(h2);

  const second = await agent("--state-dir", "/run/other");
  expect(second.exitCode).toBe(2);
  expect(second.stderr).toContain("an agent is running in this network namespace (process ");
  expect(second.stderr).not.toContain("another --state-dir");

  await h2.run("rm", ["-r", STATE]);
  const cleaning = await agent("cleanup");
  expect(cleaning.exitCode).toBe(2);
  expect(cleaning.stderr).toContain("is running in this network namespace");
  await api.create(servicesPath, aService("web"));
  await waitFor(async () => (await h2.run("cat", [`${STATE}/replica/image`])).stdout.includes('"web"'), { what: "the new image" });
  expect((await h2.run("stat", ["-c", "%a", STATE])).stdout).toBe("700");

  // README's step: the host asks only us.
  await h2.run("tee", ["/etc/resolv.conf"], { input: "nameserver 192.0.2.53\n" });
  await waitFor(async () => (await h2.run("cat", [`${STATE}/upstreams.json`])).stdout === '["192.0.2.53"]', {
    what: "the upstream",
    timeoutMs: 10_000,
  });
  await h2.run("tee", ["/etc/resolv.conf"], { input: "nameserver 10.96.0.10\n" });
  await running.stop();
  const dry = await agent("cleanup", "--dry-run");
  expect(dry.stdout).toContain(`would remove ${STATE}`);
  expect(dry.exitCode).toBe(1);
  const cleaned = await agent("cleanup");
  expect(cleaned.exitCode).toBe(1);
  expect(cleaned.stdout).not.toContain("nothing of Fairlead is left");
  expect(cleaned.stderr).toContain("/etc/resolv.conf still names 10.96.0.10");
  expect(cleaned.stderr).toContain("printf 'nameserver 192.0.2.53\\n' | sudo tee /etc/resolv.conf");
  expect(await rulesOf(h2)).toEqual([]);
  expect((await h2.run("cat", ["/etc/resolv.conf"])).stdout).toBe("nameserver 10.96.0.10");
  await h2.run("tee", ["/etc/resolv.conf"], { input: "nameserver 192.0.2.53\n" });
  expect(await agent("cleanup")).toMatchObject({ exitCode: 0, stdout: "nothing of Fairlead is left on this host" });
});
