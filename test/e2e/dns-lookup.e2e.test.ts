import { expect, test } from "vitest";
import { createProgram } from "#cli/program/program.ts";
import { modelOf } from "#cli/completion/model.ts";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, startAgent } from "./agent-rig.ts";
import { joinMachine, startFleetServer, startUpstream, WEB } from "./resolver-rig.ts";

/** Addresses in a network that is not on any link of the hosts. */
const FAR = { network: "198.51.100.0/24", byFlag: "198.51.100.7", inFile: "198.51.100.8", stranger: "198.51.100.9" };

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
  await open.run("sed", ["-i", `s/^dnsAllow: .*/dnsAllow: [${FAR.inFile}]/`, "/etc/fairlead/agent.yaml"]);
  await startAgent(open, "--healthz-listen", probes, "--dns-allow", FAR.byFlag);
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
  expect(refused.stdout).toContain(`ssh ${closed.name} sudo fairlead dns lookup ${WEB.name}`);
  expect((await lookup(closed, WEB.name, "--node", "nobody")).exitCode).toBe(3);

  // What the fleet runs is nobody else's business.
  const stranger = await fleet.out.run("curl", ["-sm", "5", `http://${probes}/dns/explain?name=${WEB.name}`]);
  expect(stranger.stdout).toContain("only this host and the other nodes");
  expect((await fleet.out.run("curl", ["-sm", "5", `http://${probes}/livez`])).stdout).toBe("ok");

  // Who comes from a network that is none of the host's own, is answered where the operator has named it.
  await open.run("ip", ["route", "add", FAR.network, "via", fleet.out.ip]);
  await fleet.out.run("ip", ["route", "add", "10.96.0.10/32", "via", open.ip]);
  for (const address of [FAR.byFlag, FAR.inFile, FAR.stranger]) await fleet.out.run("ip", ["address", "add", `${address}/32`, "dev", "lo"]);
  const answerTo = async (address: string): Promise<string> =>
    (await fleet.out.run("dig", ["-b", address, "@10.96.0.10", "+short", "+tries=1", "+time=2", WEB.name], { reject: false })).stdout;
  expect(await Promise.all([FAR.byFlag, FAR.inFile].map(answerTo))).toEqual([WEB.address, WEB.address]);
  expect(await answerTo(FAR.stranger)).toMatch(/timed out|no servers could be reached/);
  const metrics = async () => (await open.run("curl", ["-s", `http://${probes}/metrics`])).stdout;
  await waitFor(async () => /_dropped_total\{reason="stranger"\} 1$/m.test(await metrics()), { what: "the stranger to be counted" });
});

test("who is not root is told to use sudo, and not that this host is in no fleet", async () => {
  await using fleet = await createFleet({ hosts: 1 });
  const [host] = fleet.hosts;
  await host.run("mkdir", ["-p", "/etc/fairlead"]);
  for (const file of ["node.yaml", "agent.yaml"]) await host.run("install", ["-m", "600", "/dev/null", `/etc/fairlead/${file}`]);
  for (const args of [["status"], ["lookup", WEB.name], ["install", "--dry-run"], ["containers"]]) {
    const nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", fairlead, "dns", ...args];
    const { exitCode, stderr } = await host.run("setpriv", nobody, { reject: false });
    expect({ exitCode, stderr }).toEqual({
      exitCode: 5,
      stderr: expect.stringMatching(/only root may read \/etc\/fairlead\/\w+\.yaml[^]*run it with sudo/) as unknown,
    });
  }
});

test("completion knows the commands of `fairlead dns`", async () => {
  await using fleet = await createFleet({ hosts: 1 });
  const { stdout } = await fleet.hosts[0].run(fairlead, ["dns", "--help"]);
  const commands = [...stdout.matchAll(/^ {2}(\w+) \[options\]/gm)].map(([, name = ""]) => name);
  const io = { out: () => undefined, err: () => undefined };
  const model = modelOf(createProgram(io as never, () => undefined)).find(({ path }) => path === "dns"); // nothing is run
  expect(model?.operands).toEqual({ form: "words", words: commands });
});
