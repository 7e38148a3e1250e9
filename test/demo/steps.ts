import { join } from "node:path";
import type { Fleet, Host, Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import type { Report } from "./report.ts";

export interface Stage {
  readonly fleet: Fleet<readonly [Host, Host, Host]>;
  readonly report: Report;
  readonly signal: AbortSignal;
}

export const root = join(import.meta.dirname, "../..");
const fairlead = join(root, "fairlead");
const NAME = "web.default.svc.cluster.local";
/** In a domain and an address range that are for examples. */
const OUTSIDE = { name: "www.outside.example", address: "192.0.2.80" };
const CHECK = { intervalMs: 500, timeoutMs: 500, fall: 2 };
/** The announced time: `fall` checks in a row fail, each may take its time-out, and a little for the news to travel. */
const ANNOUNCED_MS = CHECK.fall * (CHECK.intervalMs + CHECK.timeoutMs) + 200;

/** What runs at the end where it is kept. */
export interface Running {
  readonly server: Program;
  readonly agents: Readonly<Record<"h1" | "h2" | "h3", Program>>;
}

/** Every step throws when it does not hold. */
export async function playTheMainJob(stage: Stage, { keep }: { readonly keep: boolean }): Promise<Running> {
  const { fleet, report } = stage;
  const [h1, h2, h3] = fleet.hosts;
  const before = await Promise.all(fleet.hosts.map(firewallOf));

  await report.step("a name server outside of the fleet, which the hosts ask for all other names", () => startUpstream(fleet));
  let server = await report.step("a server on h1", () => startServer(h1));
  let agents = await report.step("an agent on every host, joined with a token", () => joinAll(stage));
  const [, web2] = await report.step("two workloads, web-1 on h1 and web-2 on h2, registered where they run", () =>
    Promise.all([serve(h1, "web-1"), serve(h2, "web-2")]),
  );
  await report.step("an ordinary Kubernetes Service manifest, applied until it is live on every host", () => applyService(stage, h1));
  await report.step("the name resolves on the third host, and in its container", () => resolveName(stage));
  await report.step("a name outside of the cluster still resolves there, too", () => resolveOutside(stage));
  await report.step("200 requests from the third host reach both workloads", () => spread(stage));
  await report.step("web-2 is killed: it leaves every kernel in the announced time, and then no request fails", () =>
    killWorkload(stage, web2),
  );
  await report.step("the server is killed: traffic and names go on, also over a restart of the agent", async () => {
    await server.kill();
    await expectAnswers(stage, h3, 20);
    const restarted = restartAgent(h3, agents.h3);
    await expectAnswers(stage, h3, 100, await addressOf(h1)); // connections do not even need the agent
    agents = { ...agents, h3: await restarted };
    const start = performance.now();
    await waitFor(async () => total((await ask(h3, 1)).failures) === 0, { what: "names after the restart", timeoutMs: 20_000 });
    report.note(
      `h3's agent, restarted without a server, answers names after ${Math.round(performance.now() - start)} ms; connections never stopped`,
    );
    await expectAnswers(stage, h3, 20);
    await resolveName(stage);
  });
  await report.step("somebody flushes the nat table on h3: it is repaired", () => flushNat(stage));
  server = await report.step("the server comes back with all it knew", () => serverReturns(stage));
  await report.step("status says that all is well", () => statusIsGood(stage));
  if (keep) return { server, agents };
  await report.step("cleanup leaves nothing of ours on any host", async () => {
    await Promise.all([...Object.values(agents).map((agent) => agent.stop()), server.stop()]);
    await Promise.all(fleet.hosts.map((host, i) => cleanUp(host, before[i] ?? "")));
  });
  return { server, agents };
}

async function startUpstream({ out, hosts }: Stage["fleet"]): Promise<void> {
  const program = join(root, "test/fleet/dns-names.ts");
  const upstream = await out.spawn(process.execPath, [program, "--listen", `${out.ip}:53`, "--name", `${OUTSIDE.name}=${OUTSIDE.address}`]);
  await upstream.waitForLine(/^listening/);
  for (const host of hosts) await host.run("tee", ["/etc/resolv.conf"], { input: `nameserver ${out.ip}\n` });
}

async function startServer(host: Host): Promise<Program> {
  const server = await host.spawn(fairlead, ["server", "--listen", "0.0.0.0:7443", "--advertise", host.ip]);
  await waitFor(async () => (await host.run(fairlead, ["get", "namespaces"], { reject: false })).exitCode === 0, {
    what: "the server to be ready",
    timeoutMs: 20_000,
    intervalMs: 200,
  }).catch(async (cause: unknown) => {
    throw new Error(`the server did not come up:\n${await server.output()}`, { cause });
  });
  return server;
}

async function joinAll({ fleet, report }: Stage): Promise<Record<"h1" | "h2" | "h3", Program>> {
  const [h1, h2, h3] = fleet.hosts;
  const { stdout: token } = await h1.run(fairlead, ["token", "create", "--uses", "3", "--ttl", "10m"]);
  const join = async (host: Host): Promise<Program> => {
    await host.run(fairlead, ["agent", "join", `https://${h1.ip}:7443`, "--token-file", "-", "--name", host.name], { input: token });
    return startAgent(host);
  };
  const [first, second, third] = await Promise.all([join(h1), join(h2), join(h3)]);
  const { stdout } = await waitFor(
    async () => {
      const nodes = await h1.run(fairlead, ["get", "nodes"], { reject: false });
      return (nodes.stdout.match(/ Ready /g) ?? []).length === 3 ? nodes : undefined;
    },
    { what: "three Ready nodes", timeoutMs: 20_000, intervalMs: 100 },
  );
  for (const line of stdout.trim().split("\n")) report.note(line);
  return { h1: first, h2: second, h3: third };
}

const BEFORE = "/etc/resolv.conf.before-fairlead";

/** By hand what `fairlead dns install --write` does: in a namespace nobody else manages that file, and the steps time their own waits. */
async function startAgent(host: Host): Promise<Program> {
  const agent = await host.spawn(fairlead, ["agent"]);
  const { exitCode } = await host.run("test", ["-e", BEFORE], { reject: false });
  if (exitCode !== 0) await host.run("cp", ["-L", "/etc/resolv.conf", BEFORE]);
  await host.run("tee", ["/etc/resolv.conf"], { input: "nameserver 10.96.0.10\n" });
  for (const container of host.containers) await container.run("tee", ["/etc/resolv.conf"], { input: "nameserver 10.96.0.10\n" });
  return agent;
}

async function serve(host: Host, id: string): Promise<Program> {
  const program = await host.spawn(process.execPath, [join(root, "test/fleet/http-echo.ts"), "--listen", `${host.ip}:8080`, "--id", id]);
  await program.waitForLine(/^listening/);
  const timing = [
    "--check-interval",
    `${CHECK.intervalMs}ms`,
    "--check-timeout",
    `${CHECK.timeoutMs}ms`,
    "--check-fall",
    String(CHECK.fall),
  ];
  await host.run(fairlead, ["register", id, "--label", "app=web", "--port", "http=8080", "--check", "http:/healthz", ...timing]);
  return program;
}

async function applyService({ report }: Stage, host: Host): Promise<void> {
  const start = performance.now();
  const { stdout } = await host.run(fairlead, ["apply", "-f", join(root, "test/demo/web.yaml"), "--wait"]);
  report.figure("apply_wait_ms", performance.now() - start);
  for (const line of stdout.trim().split("\n")) report.note(line);
}

async function resolveName({ fleet, report }: Stage): Promise<void> {
  const [, , h3] = fleet.hosts;
  for (const client of [h3, ...h3.containers]) {
    const { stdout } = await client.run("dig", ["+short", "+time=2", "+tries=2", NAME]);
    if (!/^10\.96\.\d+\.\d+$/.test(stdout.trim())) throw new Error(`dig ${NAME} on ${client.name} answered "${stdout}"`);
    report.note(`${client.name}$ dig +short ${NAME}  →  ${stdout.trim()}`);
  }
}

async function resolveOutside({ fleet, report }: Stage): Promise<void> {
  const [, , h3] = fleet.hosts;
  for (const client of [h3, ...h3.containers]) {
    const { stdout } = await client.run("dig", ["+short", "+time=2", "+tries=2", OUTSIDE.name]);
    if (stdout.trim() !== OUTSIDE.address) throw new Error(`dig ${OUTSIDE.name} on ${client.name} answered "${stdout}"`);
    report.note(`${client.name}$ dig +short ${OUTSIDE.name}  →  ${stdout.trim()}`);
  }
}

async function spread(stage: Stage): Promise<void> {
  const { fleet, report } = stage;
  const [, , h3] = fleet.hosts;
  // The workloads are ready after their first good check; apply --wait was before or after that.
  await waitFor(async () => Object.keys((await ask(h3, 20)).answers).length === 2, { what: "both workloads to answer", timeoutMs: 10_000 });
  const { answers, failures } = await ask(h3, 200);
  const [one = 0, two = 0] = [answers["web-1"], answers["web-2"]];
  report.note(`web-1 ${one}, web-2 ${two}, failed ${total(failures)}`);
  report.figure("requests_web_1", one);
  report.figure("requests_web_2", two);
  if (one + two !== 200) throw new Error(`of 200 requests ${one + two} were answered: ${JSON.stringify(failures)}`);
  // 200 fair coins fall outside 60..140 once in 10^8 runs.
  if (Math.min(one, two) < 60) throw new Error(`the shares are far from equal: ${one} and ${two}`);
  for (const container of h3.containers) await expectAnswers(stage, container, 10);
}

async function killWorkload(stage: Stage, web2: Program): Promise<void> {
  const { fleet, report } = stage;
  const [, , h3] = fleet.hosts;
  const killed = performance.now();
  await web2.kill();
  const failedMs = await lastFailureAfter(h3, ANNOUNCED_MS);
  await waitFor(() => performance.now() - killed > ANNOUNCED_MS, { what: "the announced time to pass", timeoutMs: ANNOUNCED_MS + 1000 });
  report.note(`announced ${ANNOUNCED_MS} ms; the last failed request was ${Math.round(failedMs)} ms after the kill`);
  report.figure("failed_for_ms", failedMs);
  await expectAnswers(stage, h3, 100);
}

/** Asks on until requests have been good for a while; how long after the start the last one failed, in ms. */
async function lastFailureAfter(client: Host, withinMs: number): Promise<number> {
  const start = performance.now();
  let last = 0;
  while (performance.now() - start < withinMs) {
    const { failures } = await ask(client, 10);
    if (total(failures) > 0) last = performance.now() - start;
  }
  return last;
}

async function flushNat(stage: Stage): Promise<void> {
  const { fleet, report } = stage;
  const [, , h3] = fleet.hosts;
  const foreign = (await h3.run("iptables-save", ["-t", "nat"])).stdout
    .split("\n")
    .filter((line) => line.startsWith("-A") && !line.includes("FL-"));
  await h3.run("iptables", ["-w", "-t", "nat", "-F"]);
  const start = performance.now();
  await waitFor(async () => total((await ask(h3, 1, { timeoutMs: 200 })).failures) === 0, {
    what: "the repair",
    timeoutMs: 5000,
    intervalMs: 5,
  });
  const tookMs = performance.now() - start;
  report.note(`requests are answered again after ${Math.round(tookMs)} ms`);
  report.figure("repair_ms", tookMs);
  // The flush took what belongs to others too; nobody is here to put that back but we.
  await h3.run("iptables-restore", ["-w", "--noflush"], { input: ["*nat", ...foreign, "COMMIT", ""].join("\n") });
  if (tookMs > 1000) throw new Error(`the repair took ${Math.round(tookMs)} ms; 1000 are promised`);
  await expectAnswers(stage, h3, 20);
}

async function serverReturns({ fleet, report }: Stage): Promise<Program> {
  const [h1] = fleet.hosts;
  const server = await startServer(h1);
  const { stdout } = await waitFor(
    async () => {
      const slices = await h1.run(fairlead, ["get", "endpointslices", "-o", "wide"], { reject: false });
      return slices.stdout.includes(h1.ip) ? slices : undefined;
    },
    { what: "the endpoints", timeoutMs: 10_000, intervalMs: 100 },
  );
  for (const line of stdout.trim().split("\n")) report.note(line);
  return server;
}

/** Exit code 0 is what `status` says when nothing is wrong on any host. */
async function statusIsGood({ fleet, report }: Stage): Promise<void> {
  const [h1] = fleet.hosts;
  let last = "";
  const good = async (): Promise<boolean> => {
    const { stdout, stderr, exitCode } = await h1.run(fairlead, ["status"], { reject: false });
    last = `${stdout}${stderr}`.trim();
    return exitCode === 0 && !/ (never|\?) /.test(stdout); // a server that has just come up has not heard of all yet
  };
  await waitFor(good, { what: "fairlead status to find nothing wrong", timeoutMs: 15_000, intervalMs: 200 }).catch((cause: unknown) => {
    throw new Error(`fairlead status says:\n${last}`, { cause });
  });
  for (const line of last.split("\n").slice(-5)) report.note(line);
}

/** The virtual IP, from a host that still resolves its name. */
async function addressOf(host: Host): Promise<string> {
  return (await host.run("dig", ["+short", NAME])).stdout.trim();
}

async function restartAgent(host: Host, agent: Program): Promise<Program> {
  await agent.kill();
  return startAgent(host);
}

async function cleanUp(host: Host, before: string): Promise<void> {
  await host.run("cp", [BEFORE, "/etc/resolv.conf"]);
  await host.run("rm", [BEFORE]);
  await host.run(fairlead, ["agent", "cleanup"]);
  const after = await firewallOf(host);
  if (after !== before) throw new Error(`the firewall of ${host.name} is not what it was before:\n${after}`);
  const { stdout: addresses } = await host.run("ip", ["address"]);
  if (addresses.includes("10.96.0.10")) throw new Error(`${host.name} still has the DNS address:\n${addresses}`);
}

/** All rules, without counters, comments with times, and tables that were only loaded and stand empty. */
async function firewallOf(host: Host): Promise<string> {
  const tables = await Promise.all(["iptables-nft-save", "iptables-legacy-save"].map((tool) => host.run(tool, [], { reject: false })));
  return tables
    .flatMap(({ stdout }) => stdout.split("\n"))
    .filter((line) => line.startsWith("-A") || /^:\S+ -/.test(line))
    .join("\n");
}

interface Asked {
  readonly answers: Record<string, number>;
  readonly failures: Record<string, number>;
}

async function ask(client: Host, requests: number, { timeoutMs = 1000, address = NAME } = {}): Promise<Asked> {
  const arguments_ = ["--url", `http://${address}/`, "--requests", String(requests), "--timeout-ms", String(timeoutMs)];
  const { stdout } = await client.run(process.execPath, [join(root, "test/fleet/http-ask.ts"), ...arguments_], { timeoutMs: 60_000 });
  return JSON.parse(stdout) as Asked; // our own test program
}

async function expectAnswers({ signal }: Stage, client: Host, requests: number, address = NAME): Promise<void> {
  signal.throwIfAborted();
  const { failures } = await ask(client, requests, { address });
  if (total(failures) > 0)
    throw new Error(`${total(failures)} of ${requests} requests from ${client.name} failed: ${JSON.stringify(failures)}`);
}

function total(counts: Record<string, number>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
