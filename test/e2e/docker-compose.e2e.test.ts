import { afterAll, beforeAll, expect, test } from "vitest";
import { importBaseImage } from "../fleet/base-image.ts";
import { type Docker, startDocker } from "../fleet/docker.ts";
import { createFleet, type Fleet, type Host } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";

/** The Dockerfile and the docker-compose.yml of this checkout, with docker-compose 1.29 and a base image that is made here. */

let fleet: Fleet<readonly [Host]>;
let docker: Docker;

const stack = new AsyncDisposableStack();
beforeAll(async () => {
  fleet = stack.use(await createFleet({ hosts: 1 }));
  docker = stack.use(await startDocker(fleet, fleet.hosts[0]));
  await importBaseImage(docker);
  await docker.cli("build", "--tag", "fairlead", "--build-arg", "PACKAGES=", process.cwd());
  await compose("up", "--detach", "--no-build");
}, 600_000); // the first time on a machine the tree of the base image is made, and libraries are fetched
afterAll(() => stack.disposeAsync());

async function compose(...args: readonly string[]): Promise<string> {
  const env = { DOCKER_HOST: `unix://${docker.socketPath}`, COMPOSE_PROJECT_NAME: "fleet" };
  const { stdout, stderr, exitCode } = await fleet.hosts[0].run("docker-compose", args, { env, timeoutMs: 180_000, reject: false });
  if (exitCode !== 0) throw new Error(`docker-compose ${args.join(" ")}: ${exitCode}\n${stdout}\n${stderr}`);
  return stdout;
}

async function untilAnsweredBy(names: readonly string[]): Promise<void> {
  const asked =
    "for (let i = 0; i < 16; i++) console.log((await (await fetch('http://web/', { headers: { connection: 'close' } })).text()).trim())";
  let last = "";
  await waitFor(
    async () => {
      last = await compose("exec", "-T", "client", "node", "--input-type=module", "-e", asked).catch(String);
      return [...new Set(last.trim().split("\n"))].toSorted().join() === names.join();
    },
    { what: names.join(), timeoutMs: 60_000 },
  ).catch(async (cause: unknown) => {
    throw new Error(`${names.join()} did not answer, but ${last}\n${(await compose("logs", "--tail", "30")).slice(-8_000)}`, { cause });
  });
}

test("the client finds both web workloads by name, and only the one that is left", async () => {
  await untilAnsweredBy(["web-1", "web-2"]);
  await compose("stop", "web-1");
  await untilAnsweredBy(["web-2"]);
});

test("the server is not root, and nothing is privileged", async () => {
  expect(await compose("exec", "-T", "server", "id", "-un")).toBe("node");
  const ids = (await docker.cli("ps", "--quiet")).split("\n");
  expect(await docker.cli("inspect", "--format", "{{.HostConfig.Privileged}} {{.HostConfig.CapAdd}}", ...ids)).not.toMatch(/true|SYS_|ALL/);
});

test("hosts that are made anew go on as the ones they were", async () => {
  await compose("up", "--detach", "--no-build", "--force-recreate", "agent-1", "web-1");
  await untilAnsweredBy(["web-1", "web-2"]);
});

test("a host starts again while the server is down and without a token, and knows what it knew", async () => {
  const credential = () => compose("exec", "-T", "agent-3", "cat", "/var/lib/fairlead/agent/node.yaml");
  const before = await credential();
  await compose("stop", "server");
  await compose("run", "--rm", "--no-deps", "-T", "setup", "rm /join/token");
  await compose("restart", "agent-3");
  await compose("restart", "client"); // it shares the network of agent-3, which is made anew
  await untilAnsweredBy(["web-1", "web-2"]);
  expect(await credential()).toBe(before);
});
