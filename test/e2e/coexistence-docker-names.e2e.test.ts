import { afterAll, beforeAll, expect, test } from "vitest";
import { type Docker, startDocker } from "../fleet/docker.ts";
import { createFleet, type Fleet, type Host } from "../fleet/fleet.ts";
import { fairlead, startAgent } from "./agent-rig.ts";
import { joinMachine, OUTSIDE, resolved, startFleetServer, startUpstream, untilResolved, WEB } from "./resolver-rig.ts";

/** What `fairlead dns install` and `dns containers` print, given to a real Docker. */

let fleet: Fleet<readonly [Host, Host]>;
let docker: Docker;
let printed: string;

const stack = new AsyncDisposableStack();
beforeAll(async () => {
  fleet = stack.use(await createFleet({ hosts: 2 }));
  const [server, host] = fleet.hosts;
  await startUpstream(fleet.out);
  await host.run("tee", ["/etc/resolv.conf"], { input: `nameserver ${fleet.out.ip}\n` });
  const api = await startFleetServer(server);
  await joinMachine(host, { api, server, name: host.name });
  const { stdout } = await host.run(fairlead, ["dns", "install", "--dry-run"]);
  printed = `{\n${/^ {2}"dns": .*\n.*"dns-search": .*$/m.exec(stdout)?.[0] ?? stdout}\n}\n`;
  await host.run("mkdir", ["-p", "/etc/docker"]);
  await host.run("tee", ["/etc/docker/daemon.json"], { input: printed });
  docker = stack.use(await startDocker(fleet, host));
  await startAgent(host);
});
afterAll(() => stack.disposeAsync());

test("with the lines for daemon.json, containers on the default bridge find names, short ones too, and all others", async () => {
  const container = await docker.runContainer("plain");
  for (const name of [WEB.name, "web.default", "web.default.svc", "web"]) await untilResolved(container, { name, address: WEB.address });
  await untilResolved(container, OUTSIDE);
});

test("`dns containers` says the same as `dns install`", async () => {
  const { stdout } = await fleet.hosts[1].run(fairlead, ["dns", "containers"]);
  expect(JSON.parse(/^\{$[^]*?^\}$/m.exec(stdout)?.[0] ?? "")).toEqual(JSON.parse(printed));
});

test("on a network that was made after the agent began, too, by way of Docker's own server, and at once", async () => {
  await docker.cli("network", "create", "later");
  const start = performance.now();
  const container = await docker.runContainer("apart", { network: "later" });
  expect((await container.run("cat", ["/etc/resolv.conf"])).stdout).toContain("nameserver 127.0.0.11");
  await untilResolved(container, WEB);
  expect(performance.now() - start).toBeLessThan(10_000); // the networks themselves are looked at twice a minute
  expect(await resolved(container, "web")).toBe(WEB.address);
  await untilResolved(container, OUTSIDE);
});

test("with the flags for docker run, one container has search names of another namespace", async () => {
  const { stdout } = await fleet.hosts[1].run(fairlead, ["dns", "containers", "--namespace", "shop"]);
  const flags = (/^docker run (.*) …$/m.exec(stdout)?.[1] ?? "").split(" ");
  const container = await docker.runContainer("shop", { flags });
  await untilResolved(container, { name: "web.default", address: WEB.address });
  expect(await resolved(container, "web")).toBe("");
});
