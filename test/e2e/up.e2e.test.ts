import { expect, test } from "vitest";
import { createFleet } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, joinHost, openApi, serveHttp, startServer } from "./agent-rig.ts";

test("`fairlead up` on a host of another fleet says so, and makes no second one", async () => {
  await using fleet = await createFleet({ hosts: 2 });
  const [h1, h2] = fleet.hosts;
  await startServer(h1);
  await joinHost(h2, { api: await openApi(h1), server: h1 });
  const { exitCode, stderr } = await h2.run(fairlead, ["up"], { reject: false });
  expect(exitCode).toBe(2);
  expect(stderr).toContain(`this host is h2 of the fleet at https://${h1.ip}:7443 (/etc/fairlead/node.yaml)`);
  expect(stderr).toContain("fairlead agent cleanup --purge");
  expect((await h2.run("ls", ["/var/lib/fairlead/server"], { reject: false })).exitCode).toBe(2);
  expect((await h2.run("ls", ["/etc/fairlead"])).stdout.split("\n")).toEqual(["agent.yaml", "node.yaml"]);
});

test("`fairlead up` on a host without systemd: server and agent until a signal, and again with what they knew", async () => {
  await using fleet = await createFleet({ hosts: 1 });
  const [host] = fleet.hosts;
  const first = await host.spawn(fairlead, ["up"]);
  const live = async () => (await host.run("curl", ["-sS", "-m1", "http://10.96.0.50/"], { reject: false })).stdout.startsWith("web-1 ");
  await first.waitForLine(/programmed the kernel/, { timeoutMs: 30_000 });
  await serveHttp(host, "web-1");
  await host.run(fairlead, ["register", "web-1", "--label", "app=web", "--port", "http=8080"]);
  await host.run(fairlead, ["apply", "-f", "-", "--wait"], {
    input:
      "apiVersion: v1\nkind: Service\nmetadata: { name: web }\nspec: { clusterIP: 10.96.0.50, selector: { app: web }, ports: [{ port: 80, targetPort: http }] }\n",
  });
  await waitFor(live, { what: "web-1 to answer" });
  const status = await host.run(fairlead, ["status"], { reject: false });
  expect(status.stdout).toMatch(/^Nodes: +1 of 1 ready$/m);
  expect(status.stdout).not.toContain("Services that lead to nobody");

  expect(await first.stop({ graceMs: 20_000 })).toEqual({ exitCode: 143, signal: null });
  expect(
    (await host.run("pgrep", ["-f", `^.*${fairlead.replace(/\/fairlead$/, "")}/(server|agent)/main.ts`], { reject: false })).stdout,
  ).toBe("");
  expect(await live()).toBe(true); // the kernel serves on
  const second = await host.spawn(fairlead, ["up"]);
  await second.waitForLine(/this host has joined before/, { timeoutMs: 30_000 });
  await second.waitForLine(/programmed the kernel/, { timeoutMs: 30_000 });
  expect(await live()).toBe(true);
  await second.stop({ graceMs: 20_000 });
});
