import { expect, test } from "vitest";
import { createProgram } from "#cli/program/program.ts";
import { modelOf } from "#cli/completion/model.ts";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, startAgent } from "./agent-rig.ts";
import { joinMachine, startFleetServer, startUpstream, WEB } from "./resolver-rig.ts";

test("lookup asks another node's agent where it lets the fleet ask, and says how else it goes", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [open, closed] = fleet.hosts;
  await startUpstream(fleet.out);
  const api = await startFleetServer(open);
  for (const host of fleet.hosts) {
    await host.run("tee", ["/etc/resolv.conf"], { input: `nameserver ${fleet.out.ip}\n` });
    await joinMachine(host, { api, server: open, name: host.name });
  }
  const probes = `${open.ip}:10256`;
  await startAgent(open, "--healthz-listen", probes);
  await startAgent(closed);
  const lookup = (host: Host, ...args: string[]) => host.run(fairlead, ["dns", "lookup", ...args], { reject: false });

  await waitFor(async () => (await lookup(closed, WEB.name, "--node", open.name)).exitCode === 0, { what: "both nodes to know each other", timeoutMs: 20_000, intervalMs: 300 }); // prettier-ignore
  const { stdout } = await lookup(closed, WEB.name, "--node", open.name, "-o", "json");
  expect(JSON.parse(stdout)).toMatchObject({
    node: open.name,
    why: {
      node: open.name,
      stateAgeMs: 0,
      explanation: {
        objects: [{ kind: "Service", name: "default/web" }],
        records: expect.arrayContaining([`A ${WEB.address}`]) as unknown,
      },
    },
  });

  const refused = await lookup(open, WEB.name, "--node", closed.name, "--agent", probes);
  expect(refused.exitCode).toBe(7);
  expect(refused.stdout).toContain(`ssh ${closed.name} fairlead dns lookup ${WEB.name}`);
  expect((await lookup(closed, WEB.name, "--node", "nobody")).exitCode).toBe(3);

  // What the fleet runs is nobody else's business.
  const stranger = await fleet.out.run("curl", ["-sm", "5", `http://${probes}/dns/explain?name=${WEB.name}`]);
  expect(stranger.stdout).toContain("only this host and the other nodes");
  expect((await fleet.out.run("curl", ["-sm", "5", `http://${probes}/livez`])).stdout).toBe("ok");
});

test("completion knows the commands of `fairlead dns`", async () => {
  await using fleet = await createFleet({ hosts: 1 });
  const { stdout } = await fleet.hosts[0].run(fairlead, ["dns", "--help"]);
  const commands = [...stdout.matchAll(/^ {2}(\w+) \[options\]/gm)].map(([, name = ""]) => name);
  const io = { out: () => undefined, err: () => undefined };
  const model = modelOf(createProgram(io as never, () => undefined)).find(({ path }) => path === "dns"); // nothing is run
  expect(model?.operands).toEqual({ form: "words", words: commands });
});
