import { afterAll, beforeAll, expect, test } from "vitest";
import { stringify } from "yaml";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";
import { startCli, startHost, startServer, type CliOptions, type TestHost, type TestServer } from "./cli-server.ts";
import { waitFor } from "#test/wait-for.ts";

let server: TestServer;
let host: TestHost;
/** The kubeconfig of the host itself, as joining writes it. */
let nodeConfig: string;
beforeAll(async () => {
  server = await startServer();
  host = await startHost(server, "vm-1", "192.0.2.11");
  nodeConfig = join(server.folder, "node.yaml");
  await writeFile(
    nodeConfig,
    stringify({
      clusters: [{ name: "f", cluster: { server: server.url, "certificate-authority-data": btoa(server.ca) } }],
      users: [{ name: "node-vm-1", user: { token: host.token } }],
      contexts: [{ name: "f", context: { cluster: "f", user: "node-vm-1" } }],
    }),
    { mode: 0o600 },
  );
  await waitFor(async () => (await cli("get no")).stdout.includes("vm-1   Ready"), { what: "vm-1 to be ready", timeoutMs: 15_000 });
});
afterAll(async () => {
  await host.stop();
  await server.close();
});

const cli = (args: string, options?: CliOptions) => startCli(server, args.split(" "), options);
const onHost = (args: string) => cli(args, { kubeconfig: nodeConfig });

test("a host registers its workload, again with other options, and takes it out", async () => {
  expect(await onHost("register web-1 --label app=web,tier=x --port http=8080 --check http:/healthz --check-interval 2s")).toMatchObject({
    exitCode: 0,
    stdout: "workload/web-1 registered\n",
    stderr: "",
  });
  expect(await server.client.get("Workload", "web-1", { namespace: "default" })).toMatchObject({
    metadata: { labels: { app: "web", tier: "x" } },
    spec: { node: "vm-1", ports: [{ name: "http", port: 8080 }], checks: [{ http: { port: "http", path: "/healthz" }, interval: "2s" }] },
  });
  expect(await onHost("register web-1 --label app=web --port http=8081")).toMatchObject({
    exitCode: 0,
    stdout: "workload/web-1 configured\n",
  });
  const changed = await server.client.get("Workload", "web-1", { namespace: "default" });
  expect(changed.metadata.labels).toEqual({ app: "web" });
  expect(changed.spec).toMatchObject({ ports: [{ name: "http", port: 8081 }], checks: [] });
  expect(await onHost("register web-1 --label app=web --port http=8081")).toMatchObject({
    exitCode: 0,
    stdout: "workload/web-1 unchanged\n",
  });

  expect(await cli("expose web --workload web-1 --port 80 --wait")).toMatchObject({
    exitCode: 0,
    stdout: "service/web exposed\n",
    stderr: "",
  });
  const described = await waitFor(
    async () => {
      const { stdout } = await cli("describe service web");
      return stdout.includes("192.0.2.11") ? stdout : undefined;
    },
    { what: "the endpoint", timeoutMs: 10_000 },
  );
  expect(described).toMatch(/Selector: +app=web\n[^]*TargetPort: +http\/TCP\nEndpoints: +192\.0\.2\.11:8081\n/);
  expect((await cli("describe wl web-1")).stdout).toMatch(/Services: +web {2}ready/);
  expect((await cli("describe node vm-1")).stdout).toMatch(/Workloads:[^]*default +web-1/);
  expect((await cli("get endpointslices -o wide")).stdout).toMatch(/8081 +192\.0\.2\.11 +\S+ +web +1\/1 +vm-1/);
  expect((await cli("get all")).stdout).toMatch(/service\/web[^]*\n\nNAME[^]*workload\/web-1/);

  expect(await cli("drain workload/web-1 --wait")).toMatchObject({ exitCode: 0, stdout: "workload/web-1 drained\n" });
  expect((await cli("get wl web-1")).stdout).toContain("True,Draining");
  expect(await cli("drain workload/web-1 --undo")).toMatchObject({ exitCode: 0, stdout: "workload/web-1 undrained\n" });
  expect((await cli("get wl web-1")).stdout).not.toContain("Draining");
  expect(await cli("drain vm-1")).toMatchObject({ exitCode: 0, stdout: "node/vm-1 drained\n" });
  expect((await cli("get no")).stdout).toContain("Ready,SchedulingDisabled");
  expect((await onHost("get wl web-1")).stdout).toContain("True,Draining");
  expect((await onHost("get wl web-1 -o json")).stdout).not.toContain('"drain": true');
  expect(await cli("drain vm-1 --undo")).toMatchObject({ exitCode: 0 });

  expect(await onHost("deregister web-1")).toMatchObject({ exitCode: 0, stdout: 'workload "web-1" deregistered\n' });
  expect((await cli("get wl web-1")).stdout).toContain("Terminating");
  // Registering what is on its way out makes it anew.
  expect(await onHost("register web-1 --label app=web --port http=8081")).toMatchObject({
    exitCode: 0,
    stdout: "workload/web-1 registered\n",
  });
  expect(await onHost("deregister web-1 --now --wait")).toMatchObject({ exitCode: 0 });
  expect(await cli("get wl web-1")).toMatchObject({ exitCode: 3 });
});

test("a workload that drains is gone when delete --wait returns", async () => {
  await onHost("register slow --port 9000");
  await server.client.patch("Workload", "slow", { spec: { terminationGracePeriodSeconds: 1 } }, { namespace: "default" });
  expect(await cli("delete wl slow --wait")).toMatchObject({ exitCode: 0, stdout: 'workload "slow" deleted\n', stderr: "" });
  expect(await cli("get wl slow")).toMatchObject({ exitCode: 3 });
});

test("a wait of over a second is told on a terminal", async () => {
  await cli("register slow-2 --node vm-1 --port 9002");
  const command = [process.execPath, "cli/main.ts", "deregister", "slow-2", "--wait"].join(" ");
  const { stdout, exitCode } = await execa("script", ["-qec", command, "/dev/null"], {
    reject: false,
    stdin: "ignore",
    env: { FAIRLEAD_KUBECONFIG: server.kubeconfig, KUBECONFIG: "" },
  });
  expect(exitCode).toBe(0);
  expect(stdout).toContain('workload "slow-2" deregistered');
  expect(stdout).toContain('waiting for workload "slow-2" to be gone…');
});

test("drain of a workload by its bare name says how to name it", async () => {
  await cli("register e1 --node vm-1 --port 9001");
  expect(await cli("drain e1")).toMatchObject({
    exitCode: 3,
    stderr: 'error: nodes "e1" not found\nhint: there is a workload of this name: fairlead drain workload/e1\n',
  });
  expect((await cli("drain e2")).stderr).not.toContain("workload/e2");
});

test("a workload without ports is taken, with a warning of what that means", async () => {
  expect(await cli("register mute --node vm-1 --label app=mute")).toMatchObject({
    exitCode: 0,
    stderr: expect.stringMatching(/^Warning: no --port: .*number.*headless/) as string,
  });
});

test("a host may not register for another, nor with an address that is not its own", async () => {
  const other = await onHost("register x --port 80 --node vm-2");
  expect(other).toMatchObject({ exitCode: 5, stdout: "" });
  const address = await onHost("register x --port 80 --address 192.0.2.99");
  expect(address.exitCode).not.toBe(0);
  expect(address.stderr).toMatch(/192\.0\.2\.99/);
  expect((await cli("get wl -A -o name")).stdout).not.toContain("workload/x");
});

test("who registers again with a --ttl renews it, though nothing changed", async () => {
  const again = "register cron --port 9000 --ttl 3s";
  expect(await onHost(again)).toMatchObject({ stdout: "workload/cron registered\n" });
  for (const end = performance.now() + 4500; performance.now() < end;)
    expect(await onHost(again)).toMatchObject({ exitCode: 0, stdout: "workload/cron unchanged\n" });
});

test("with --ttl --renew a workload lives as long as it is renewed, and leaves on a signal", async () => {
  const renewing = onHost("register job --port 9000 --ttl 1s --renew");
  await waitFor(async () => (await cli("get wl job")).exitCode === 0, { what: "job", timeoutMs: 10_000 });
  const until = performance.now() + 2500; // more than two TTLs
  await waitFor(() => performance.now() > until, { what: "two TTLs", timeoutMs: 5000 });
  expect((await cli("get wl job")).exitCode).toBe(0);
  renewing.kill("SIGTERM");
  const ended = await renewing;
  expect(ended.stderr).toContain('workload "job" deregistered');
  expect(
    (await server.client.list("Workload")).items.filter(
      ({ metadata }) => metadata.name === "job" && metadata.deletionTimestamp === undefined,
    ),
  ).toEqual([]);
});

/** A program's own words come through as they are, so `--follow`'s are told from them by what they say. */
const following = (name: string, script: string) =>
  startCli(server, ["register", name, "--port", "9000", "--ttl", "1s", "--follow", "--", "sh", "-c", script], { kubeconfig: nodeConfig });

test("--follow: the program is registered for as long as it runs, and its exit code is the command's", async () => {
  const script = `while [ ! -e ${join(server.folder, "enough")} ]; do sleep 0.05; done; exit 7`;
  const running = following("followed", script);
  await waitFor(async () => (await cli("get wl followed")).exitCode === 0, { what: "followed", timeoutMs: 10_000 });
  const until = performance.now() + 2500; // more than two TTLs
  await waitFor(() => performance.now() > until, { what: "two TTLs", timeoutMs: 5000 });
  expect((await cli("get wl followed")).exitCode).toBe(0);
  await writeFile(join(server.folder, "enough"), "");
  const { exitCode, stderr } = await running;
  expect(exitCode).toBe(7);
  expect(stderr).toBe('workload/followed registered\nworkload "followed" deregistered\n');
});

test("--follow: a signal is passed on when nobody is led to the program any more", async () => {
  const running = following("leaver", "trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.05; done");
  let out = "";
  running.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  await waitFor(() => out === "up\n", { what: "the program" });
  await waitFor(async () => (await cli("get wl leaver")).exitCode === 0, { what: "leaver", timeoutMs: 10_000 });
  running.kill("SIGTERM");
  await waitFor(() => out === "up\ntold\n", { what: "the signal to be passed on", timeoutMs: 10_000 });
  const inService = (await server.client.list("Workload")).items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  expect(inService.map(({ metadata }) => metadata.name)).not.toContain("leaver");
  expect((await running).exitCode).toBe(3);
});

test("--follow: a signal that ends the program too, as a terminal sends it, still takes it out in order", async () => {
  const running = following("both", `echo $$ >${join(server.folder, "pid")}; exec sleep 1000`);
  await waitFor(async () => (await cli("get wl both")).exitCode === 0, { what: "both", timeoutMs: 10_000 });
  const pid = Number(await waitFor(async () => (await readFile(join(server.folder, "pid"), "utf8")).trim(), { what: "its number" }));
  running.kill("SIGTERM");
  process.kill(pid, "SIGTERM");
  const { exitCode, stderr } = await running;
  expect(exitCode).toBe(143);
  expect(stderr).toBe('workload/both registered\nworkload "both" deregistered\n');
});

test("--follow: of two programs with one name, the one that ends first leaves the other's registration", async () => {
  const script = (name: string) => `while [ ! -e ${join(server.folder, name)} ]; do sleep 0.05; done`;
  const first = following("twin", script("one"));
  await waitFor(async () => (await cli("get wl twin")).exitCode === 0, { what: "twin", timeoutMs: 10_000 });
  const keeper = async () =>
    (await server.client.get("Workload", "twin", { namespace: "default" })).metadata.annotations?.["fairlead.dev/keeper"];
  const before = await keeper();
  const second = following("twin", script("two"));
  await waitFor(async () => (await keeper()) !== before, { what: "the second", timeoutMs: 10_000 });
  await writeFile(join(server.folder, "one"), "");
  expect((await first).stderr).toBe('workload/twin registered\nworkload "twin" stays: somebody else has registered it since\n');
  expect((await server.client.get("Workload", "twin", { namespace: "default" })).metadata.deletionTimestamp).toBeUndefined();
  await writeFile(join(server.folder, "two"), "");
  expect((await second).stderr).toBe('workload/twin configured\nworkload "twin" deregistered\n');
});

test("--follow: what can never be registered is not started, and an unknown program is exit code 127", async () => {
  const refused = await startCli(server, ["register", "x", "--node", "vm-2", "--follow", "--", "echo", "ran"], { kubeconfig: nodeConfig });
  expect(refused).toMatchObject({ exitCode: 5, stdout: "" });
  const unknown = await startCli(server, ["register", "y", "--port", "1", "--follow", "--", "no-such-program"], { kubeconfig: nodeConfig });
  expect(unknown).toMatchObject({ exitCode: 127, stderr: "error: no-such-program: no such command\n" }); // it was never registered
  const noProgram = await startCli(server, ["register", "y", "--port", "1", "--follow", "--", nodeConfig], { kubeconfig: nodeConfig });
  expect(noProgram).toMatchObject({ exitCode: 126, stderr: `error: ${nodeConfig}: may not be executed\n` });
  expect((await cli("register z --follow")).stderr).toContain("--follow needs a program");
});

test("apply --wait returns when all nodes have it, and names those that are late", async () => {
  const manifest = (port: number) => `apiVersion: v1\nkind: Service\nmetadata: { name: waited }\nspec: { ports: [{ port: ${port} }] }\n`;
  expect(await cli("apply -f - --wait", { input: manifest(80) })).toMatchObject({
    exitCode: 0,
    stdout: "service/waited created\n",
    stderr: "",
  });
  host.freeze();
  const late = await cli("apply -f - --wait --timeout 1s", { input: manifest(81) });
  expect(late).toMatchObject({ exitCode: 8, stdout: "service/waited configured\n" });
  expect(late.stderr).toMatch(/node vm-1 did not have it yet/);
  const waiting = cli("apply -f - --wait --timeout 60s", { input: manifest(82) });
  for await (const line of waiting.iterable()) if (line === "service/waited configured") waiting.kill("SIGINT");
  expect(await waiting).toMatchObject({ exitCode: 130, stderr: "" });
});

test("status names a host that fell silent and that the brake keeps, as it is the last, and is then exit code 1", async () => {
  await host.stop();
  const sick = await waitFor(
    async () => {
      const result = await cli("status");
      return result.exitCode === 1 ? result : undefined;
    },
    { what: "vm-1 to be missed", timeoutMs: 15_000 },
  );
  expect(sick.stdout).toMatch(/vm-1 +kept [^]*Something is wrong:[^]*1 host silent, kept: mass-failure brake.*\(vm-1\)/);
});

test("--follow: without a server the program runs, and it is registered when the server is there", async () => {
  await server.stop();
  const script = `echo up; while [ ! -e ${join(server.folder, "late")} ]; do sleep 0.05; done`;
  const running = following("late", script);
  let out = "";
  running.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  await waitFor(() => out === "up\n", { what: "the program", timeoutMs: 10_000 });
  await server.start();
  await waitFor(async () => (await cli("get wl late")).exitCode === 0, { what: "late", timeoutMs: 15_000 });
  await writeFile(join(server.folder, "late"), "");
  expect((await running).exitCode).toBe(0);
});
