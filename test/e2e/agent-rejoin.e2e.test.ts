import { expect, test } from "vitest";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import {
  ask,
  aService,
  aWorkload,
  fairlead,
  isSetUp,
  openApi,
  rulesOf,
  serveHttp,
  servicesPath,
  startAgent,
  startServer,
  workloadsPath,
  type Api,
} from "./agent-rig.ts";

const nodePath = (host: Host): string => `/api/v1/nodes/${host.name}`;

async function readiness(api: Api, host: Host): Promise<{ status?: string; lastTransitionTime?: string } | undefined> {
  const { body } = await api.call("GET", nodePath(host));
  const { conditions = [] } =
    (body as { status?: { conditions?: { type: string; status: string; lastTransitionTime?: string }[] } }).status ?? {};
  return conditions.find(({ type }) => type === "Ready");
}

async function isReady(api: Api, host: Host): Promise<void> {
  await waitFor(async () => (await readiness(api, host))?.status === "True", { what: `${host.name} to be Ready`, timeoutMs: 15_000 });
}

test("a host that joins again while its agent runs goes on with the new credential, and no rule or connection is touched", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [h1, h2] = fleet.hosts;
  await startServer(h1);
  const api = await openApi(h1);
  const join = async (...flags: string[]) => {
    const { body } = await api.call("POST", "/apis/fairlead.dev/v1/jointokens", { uses: 1 });
    const { token: input } = body as { token: string }; // as proto/agents.ts says
    const args = ["agent", "join", `https://${h1.ip}:7443`, "--token-file", "-", "--name", h2.name, ...flags];
    return h2.run(fairlead, args, { input, reject: false });
  };

  expect((await join()).stdout).toMatch(/\nnext: fairlead agent$/);
  const agent = await startAgent(h2);
  await isReady(api, h2);
  await serveHttp(h2, "web");
  await api.create(workloadsPath, aWorkload("web-1", h2));
  await api.create(servicesPath, aService("web"));
  await isSetUp(h2, ["web"]);
  const rules = (await rulesOf(h2)).filter((rule) => !rule.includes("FL-CANARY")); // each run has a canary of its own
  const before = await readiness(api, h2);

  const asking = ask(h2, 400, "http://10.96.0.50/", "--every-ms", "20");
  const again = await join();
  expect(again.stdout).toMatch(
    /the credential that h2 had before is revoked\nthe agent that is running takes up the new credential by itself/,
  );
  await agent.waitForLine(/has joined again/, { timeoutMs: 10_000 });
  await waitFor(async () => (await agent.output()).split("the agent starts").length === 2, { what: "the same process" });
  // News reaches it over the new credential, and what was there has stayed.
  await api.create(servicesPath, aService("more", { clusterIP: "10.96.0.51" }));
  await waitFor(async () => (await ask(h2, 1, "http://10.96.0.51/")).answers["web"] === 1, { what: "the news", timeoutMs: 10_000 });
  expect((await asking).failures).toEqual({});
  expect(await readiness(api, h2)).toEqual(before); // it was never lost
  expect(await rulesOf(h2)).toEqual(expect.arrayContaining(rules));

  // Elsewhere: the running agent has lost its credential, and finds no other where it looks.
  const elsewhere = await join("--kubeconfig", "/etc/fairlead/other/node.yaml");
  expect(elsewhere.stdout).toMatch(
    /is revoked\n.*if it goes by another file, stop it, then: fairlead agent --kubeconfig \/etc\/fairlead\/other\/node\.yaml$/,
  );
  await agent.waitForLine(/no longer\) known: join again with a new token/, { timeoutMs: 10_000 });
  await join();
  await isReady(api, h2);

  // Deleted, and back again.
  await api.call("DELETE", nodePath(h2));
  await waitFor(async () => (await api.call("GET", nodePath(h2))).status === 404, { what: "the node to be gone" });
  await join();
  await isReady(api, h2);
  expect((await h2.run(fairlead, ["agent"], { reject: false })).stderr).toContain("is running");
  expect(await agent.stop()).toMatchObject({ exitCode: 0 });
});
