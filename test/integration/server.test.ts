import { createServer } from "node:net";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { ChangesReply, SnapshotPage } from "#proto/agents.ts";
import { createClient, type Client } from "#proto/client.ts";
import { paths } from "#proto/paths.ts";
import { waitFor } from "#test/wait-for.ts";

/** `fairlead server` as a process of its own, from its command line to its exit code. */

const MAIN = fileURLToPath(new URL("../../server/main.ts", import.meta.url));
const Kubeconfig = z.object({
  clusters: z.array(z.object({ cluster: z.object({ server: z.string(), "certificate-authority-data": z.string() }) })),
  users: z.array(z.object({ user: z.object({ token: z.string() }) })),
});

interface Process {
  readonly process: ReturnType<typeof launch>;
  readonly dir: string;
  output(): { out: string; err: string };
  client(): Client;
}

function launch(dir: string, argv: readonly string[]) {
  return execa("node", [MAIN, ...argv], { reject: false, timeout: 25_000, env: { HOME: dir } });
}

function start(dir: string, more: readonly string[] = []): Process {
  const kubeconfig = join(dir, "admin.yaml");
  const argv = [
    "--data-dir",
    join(dir, "data"),
    "--kubeconfig-out",
    kubeconfig,
    "--config",
    join(dir, "server.yaml"),
    "--listen",
    "127.0.0.1:0",
  ];
  const process = launch(dir, [...argv, ...more]);
  onTestFinished(async () => {
    process.kill("SIGKILL");
    await process;
  });
  let out = "";
  let err = "";
  process.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  process.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
  return {
    process,
    dir,
    output: () => ({ out, err }),
    client: () => {
      const { clusters, users } = Kubeconfig.parse(parse(readFileSync(kubeconfig, "utf8")));
      const cluster = clusters[0]?.cluster;
      const client = createClient({
        server: cluster?.server ?? "",
        ca: Buffer.from(cluster?.["certificate-authority-data"] ?? "", "base64").toString(),
        token: users[0]?.user.token,
      });
      onTestFinished(() => client.close());
      return client;
    },
  };
}

function aFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), "fairlead-server-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const ready = ({ output }: Process): Promise<unknown> =>
  waitFor(() => output().out.includes("kubeconfig"), { what: "the server to be ready", timeoutMs: 15_000 });

async function startReady(dir = aFolder(), more: readonly string[] = []): Promise<Process> {
  await execa("touch", [join(dir, "server.yaml")]);
  const server = start(dir, more);
  await ready(server);
  return server;
}

test("when it is ready it says where it is, how other hosts join and where the credential is", async () => {
  const server = await startReady();
  const { out, err } = server.output();
  const [, url = ""] = /Fairlead serves on (https:\/\/127\.0\.0\.1:\d+)/.exec(out) ?? [];
  const tokenFile = join(server.dir, "data/join-token");
  expect(out).toContain(`sudo fairlead agent join ${url} --token-file ${tokenFile}`);
  expect(out).toContain(join(server.dir, "admin.yaml"));
  expect(statSync(join(server.dir, "admin.yaml")).mode & 0o777).toBe(0o600);
  const token = readFileSync(tokenFile, "utf8").trim();
  expect(out + err).not.toContain(token);
  expect((await server.client().list("Namespace")).items.map(({ metadata }) => metadata.name)).toEqual(["default", "kube-system"]);
  // One JSON object a line.
  for (const line of err.trim().split("\n")) expect(JSON.parse(line)).toHaveProperty("msg");
});

test.for<NodeJS.Signals>(["SIGTERM", "SIGINT"])(
  "%s: who waits gets an answer, what was written is there, and it ends within 2 s",
  async (signal) => {
    const server = await startReady();
    const client = server.client();
    await client.create(
      "Service",
      { apiVersion: "v1", kind: "Service", metadata: { name: "web" }, spec: { ports: [{ port: 80 }] } },
      { namespace: "default" },
    );
    const { epoch, revision } = SnapshotPage.parse((await client.transport.send({ path: paths.snapshot })).body);
    const waiting = client.transport.send({ path: paths.changes, query: { since: revision, epoch, timeoutMs: 60_000 } });
    await waitFor(
      async () => String((await client.transport.send({ path: paths.metrics })).body).includes("fairlead_long_polls_pending 1"),
      { what: "the poll to wait" },
    );
    const start = performance.now();
    server.process.kill(signal);
    expect(ChangesReply.parse((await waiting).body)).toEqual({ epoch, revision, changes: [] });
    const { exitCode } = await server.process;
    expect([exitCode, performance.now() - start < 2000]).toEqual([0, true]);

    const again = await startReady(server.dir);
    const after = again.client();
    expect((await after.get("Service", "web", { namespace: "default" })).metadata.name).toBe("web");
    const page = SnapshotPage.parse((await after.transport.send({ path: paths.snapshot })).body);
    expect([page.epoch === epoch, page.revision >= revision]).toEqual([false, true]);
  },
);

test("a port that is taken is a clear error, and leaves nothing running", async () => {
  const other = createServer();
  await new Promise<void>((resolve) => void other.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void other.close());
  const address = other.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const dir = aFolder();
  await execa("touch", [join(dir, "server.yaml")]);
  const server = start(dir, ["--listen", `127.0.0.1:${port}`]);
  const { exitCode, stderr } = await server.process;
  expect(exitCode).toBe(1);
  expect(stderr).toContain(`fairlead server: port ${port} of 127.0.0.1 is taken by another program`);
});

test("a second server on the same data is refused", async () => {
  const first = await startReady();
  const { exitCode, stderr } = await start(first.dir).process;
  expect(exitCode).toBe(1); // not 7: that is for a server that cannot be reached
  expect(stderr).toMatch(/is in use by another process\n {2}only one server may run on a data directory/);
});

test("a wrong flag is named, with exit code 2", async () => {
  const { exitCode, stderr } = await start(aFolder(), ["--config", "/dev/null", "--service-cidr", "10.96.0.1/16"]).process;
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^fairlead server: --service-cidr: 10\.96\.0\.1\/16 is no range like 10\.96\.0\.0\/16/);
});

test("a namespace whose deletion a crash has interrupted is gone after the next start", async () => {
  const server = await startReady();
  const client = server.client();
  await client.create("Namespace", { apiVersion: "v1", kind: "Namespace", metadata: { name: "team" } });
  for (let i = 0; i < 5; i++)
    await client.create(
      "Service",
      { apiVersion: "v1", kind: "Service", metadata: { name: `web-${i}` }, spec: { ports: [{ port: 80 }] } },
      { namespace: "team" },
    );
  // Killed at some moment of it; whatever that was, the next start leaves nothing behind.
  const deletion = client.delete("Namespace", "team").catch(() => undefined);
  server.process.kill("SIGKILL");
  await Promise.all([deletion, server.process]);
  const after = (await startReady(server.dir)).client();
  const left = (await after.list("Namespace")).items.map(({ metadata }) => metadata.name);
  const services = (await after.list("Service")).items.length;
  expect([left.includes("team"), services]).toBeOneOf([
    [false, 0],
    [true, 5],
  ]);
});
