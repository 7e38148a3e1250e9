import { expect, test } from "vitest";
import { createFleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import {
  ask,
  aService,
  aWorkload,
  fairlead,
  isSetUp,
  joinHost,
  openApi,
  serveHttp,
  servicesPath,
  startAgent,
  startServer,
  workloadsPath,
} from "./agent-rig.ts";
import { load } from "./load-rig.ts";

/** Each to each other, on a kernel that has no IPVS. */
const TOUR = ["iptables-nft", "nftables", "iptables-legacy", "iptables-nft", "iptables-legacy", "nftables", "iptables-nft"];

/** What is ours, by where it is. */
async function oursOn(host: Host): Promise<{ readonly nft: boolean; readonly iptablesNft: boolean; readonly iptablesLegacy: boolean }> {
  const [tables, nft, legacy] = await Promise.all([
    host.run("nft", ["list", "tables"]),
    host.run("iptables-nft-save"),
    host.run("iptables-legacy-save"),
  ]);
  return {
    nft: /fairlead/.test(tables.stdout),
    iptablesNft: /FL-SERVICES|FL-/.test(nft.stdout),
    iptablesLegacy: /FL-/.test(legacy.stdout),
  };
}

const ONLY: Readonly<Record<string, Awaited<ReturnType<typeof oursOn>>>> = {
  "iptables-nft": { nft: false, iptablesNft: true, iptablesLegacy: false },
  "iptables-legacy": { nft: false, iptablesNft: false, iptablesLegacy: true },
  nftables: { nft: true, iptablesNft: false, iptablesLegacy: false },
};

test("an agent that is started in another mode takes over without a refused connection, and nothing of the mode before is left", async () => {
  await using fleet = await createFleet({ hosts: 2, containersPerHost: 1 });
  const [h1, h2] = fleet.hosts;
  const [container] = h2.containers;
  if (!container) throw new Error("no container");
  await startServer(h1);
  const api = await openApi(h1);
  await joinHost(h2, { api, server: h1 });
  await joinHost(h1, { api, server: h1 });
  await startAgent(h1);
  await serveHttp(h1, "web");
  await api.create(workloadsPath, aWorkload("web", h1));
  await api.create(servicesPath, aService("web"));
  const start = async (mode: string) => {
    const agent = await h2.spawn(fairlead, ["agent", "--dataplane", mode]);
    await agent.waitForLine(/programmed the kernel/, { timeoutMs: 20_000 });
    await waitFor(async () => JSON.stringify(await oursOn(h2)) === JSON.stringify(ONLY[mode]), {
      what: `only ${mode} to be there`,
      timeoutMs: 10_000,
    });
    return agent;
  };

  const [first = "", ...others] = TOUR;
  let agent = await start(first);
  await isSetUp(h2, ["web"]);
  const stream = await h2.spawn("curl", ["-sSN", "http://10.96.0.50/stream"]);
  await stream.waitForLine(/ 3$/);
  const running = load([h2, container], "http://10.96.0.50/");
  for (const [i, mode] of others.entries()) {
    if (i % 2 === 0) await agent.stop();
    else await agent.kill(); // an unclean end leaves the same
    agent = await start(mode);
  }
  const { made, failures } = await running.stop();
  expect(failures).toEqual({});
  expect(made).toBeGreaterThan(2000);
  const lines = Number(/ (\d+)$/.exec((await stream.output()).trim())?.[1]);
  await stream.waitForLine(new RegExp(` ${lines + 5}$`));

  // The same mode again, under the same load.
  const restarts = load([h2, container], "http://10.96.0.50/");
  await agent.stop();
  agent = await start(TOUR.at(-1) ?? "");
  expect((await restarts.stop()).failures).toEqual({});

  // A service over UDP goes while no agent runs: whoever keeps asking gets nobody's answer once another mode has taken over.
  const log = await h1.spawn("node", ["test/fleet/udp-echo.ts", "--id", "log", "--listen", `${h1.ip}:5353`]);
  await log.waitForLine(/^listening/);
  const overUdp = [{ protocol: "UDP", port: 53, targetPort: 5353 }];
  await api.create(servicesPath, aService("log", { clusterIP: "10.96.0.51", ports: overUdp }));
  const asking = ["--to", "10.96.0.51:53", ...["--count", "2000", "--same-socket", "--every-ms", "10", "--timeout-ms", "200"]];
  const client = await h2.spawn("node", ["test/fleet/udp-ask.ts", ...asking]);
  await client.waitForLine(/^log /);
  await agent.stop();
  expect((await api.call("DELETE", `${servicesPath}/log`)).status).toBe(200);
  agent = await start("nftables");
  const asked = (await client.output()).split("\n").length;
  await waitFor(async () => (await client.output()).split("\n").slice(asked).includes("ECONNREFUSED"), { what: "its end" });
  await agent.stop();
  expect((await h2.run(fairlead, ["agent", "cleanup"])).stdout).toContain("nothing of Fairlead is left");
  expect(await oursOn(h2)).toEqual({ nft: false, iptablesNft: false, iptablesLegacy: false });
  expect((await ask(h2, 1, "http://10.96.0.50/", "--timeout-ms", "300")).answers).toEqual({});
});
