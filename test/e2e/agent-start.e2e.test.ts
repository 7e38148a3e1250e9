import { expect, test } from "vitest";
import { createFleet } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, openApi, rulesOf, startAgent, startServer } from "./agent-rig.ts";

test("an agent that the user has to mend something for says what, and ends before it touches the host", async () => {
  await using fleet = await createFleet({ hosts: 2, backend: "legacy" });
  const [h1, h2] = fleet.hosts;
  const agent = (...args: string[]) => h2.run(fairlead, ["agent", ...args], { reject: false });

  const notJoined = await agent();
  expect(notJoined.exitCode).toBe(2);
  expect(notJoined.stderr).toContain("fairlead agent join");

  const inArgv = await agent("join", `https://${h1.ip}:7443`, "--token", "fl1.secret");
  expect(inArgv.exitCode).toBe(2);
  expect(inArgv.stderr).toContain("can be read by every user");
  const positional = await agent("join", `https://${h1.ip}:7443`, "fl1.secret");
  expect(positional.exitCode).toBe(2);
  expect(positional.stderr).toContain("can be read by every user");
  expect((await agent("join", `https://${h1.ip}:7443`, "mangled-token")).stderr).toMatch(/^fairlead agent: join takes one argument/);
  const unknown = `fl1.01234567.${"a".repeat(43)}.${"0".repeat(64)}`;
  const badName = await h2.run(fairlead, ["agent", "join", `https://${h1.ip}:7443`, "--token-file", "-", "--name", "x;y"], {
    input: unknown,
    reject: false,
  });
  expect(badName.exitCode).toBe(2);
  expect(badName.stderr).toContain('name: Invalid value: "x;y": must be of a-z');

  await startServer(h1);
  const api = await openApi(h1);
  await h2.run("ip", ["route", "add", "10.96.4.0/24", "via", h1.ip]);
  const { body } = await api.call("POST", "/apis/fairlead.dev/v1/jointokens", { uses: 1 });
  const { token: oneUse } = body as { token: string }; // as proto/agents.ts says
  const join = (): ReturnType<typeof h2.run> =>
    h2.run(fairlead, ["agent", "join", `https://${h1.ip}:7443`, "--token-file", "-"], { reject: false, input: oneUse });
  const refused = await join();
  expect(refused.exitCode).toBe(2);
  expect(refused.stderr).toContain(`10.96.0.0/16 overlaps the route 10.96.4.0/24 via ${h1.ip} dev eth0`);
  expect((await api.call("GET", `/api/v1/nodes/${h2.name}`)).status).toBe(404);
  await h2.run("ip", ["route", "del", "10.96.4.0/24"]);
  expect((await join()).exitCode).toBe(0); // the token has its one use still
  expect((await h2.run("stat", ["-c", "%a", "/etc/fairlead/node.yaml"])).stdout).toBe("600");

  await h2.run("ip", ["route", "add", "10.96.4.0/24", "via", h1.ip]);
  const overlapping = await agent();
  expect(overlapping.exitCode).toBe(2);
  expect(overlapping.stderr).toContain(`10.96.0.0/16 overlaps the route 10.96.4.0/24 via ${h1.ip} dev eth0`);
  await h2.run("ip", ["route", "del", "10.96.4.0/24"]);
  expect(await rulesOf(h2)).toEqual([]);

  const first = await startAgent(h2);
  const second = await agent();
  expect(second.exitCode).toBe(2);
  expect(second.stderr).toContain("is running");
  expect((await agent("cleanup")).stderr).toContain("is running");

  // Somebody takes the rules away: there is an Event that names what was lost.
  await h2.run("iptables", ["-t", "nat", "-F"]);
  await waitFor(async () => /RulesRepaired.*nat PREROUTING/.test(JSON.stringify((await api.call("GET", "/api/v1/events")).body)), {
    what: "the Event",
  });

  // A kill leaves no lock behind.
  await first.kill();
  const third = await startAgent(h2);
  await third.stop();
  const cleaned = await agent("cleanup");
  expect(cleaned).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("nothing of Fairlead is left") as string });
  expect(await rulesOf(h2)).toEqual([]);
  expect((await agent("cleanup", "--dry-run")).stdout).toBe("");

  // A folder that others use too is found again without being named, and what is theirs stays.
  const shared = "/var/lib/fairlead/shared";
  const fourth = await startAgent(h2, "--state-dir", shared);
  await h2.run("touch", [`${shared}/mine`]);
  await fourth.stop();
  const purged = await agent("cleanup", "--purge");
  expect(purged).toMatchObject({ stderr: "", exitCode: 0 });
  expect(purged.stdout).toContain(`removed ${shared}/replica/image`);
  expect(purged.stdout).toContain(`not ours, and left as it is: ${shared}/mine`);
  expect((await h2.run("ls", ["-A", shared])).stdout).toBe("mine");
  expect((await h2.run("ls", ["-A", "/etc/fairlead"])).stdout).not.toMatch(/node\.yaml|agent\.yaml/);
});
