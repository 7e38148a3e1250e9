// What IPVS does over time, in a kernel of its own (test/fleet/uml.ts):  node test/e2e/ipvs-program.ts
// Prints what was seen as one JSON line; ipvs.e2e.test.ts says what it must be.
import type { Frontend, ServiceChange } from "#agent/compile/table.ts";
import { createFleet } from "#test/fleet/fleet.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { ipvsDriverOn } from "./ipvs-rig.ts";

const signal = AbortSignal.timeout(330_000);
const seen: Record<string, unknown> = {};
const see = (name: string, what: unknown): void => {
  seen[name] = what;
  process.stderr.write(`${Math.round(performance.now())} ms: ${name}: ${JSON.stringify(what)}\n`);
};

await using fleet = await createFleet({ hosts: 2, backend: "legacy" });
const [a, b] = fleet.hosts;
for (const port of [8081, 8082]) {
  const server = await b.spawn("node", ["test/fleet/http-echo.ts", "--id", String(port), "--listen", `${b.ip}:${port}`]);
  await server.waitForLine(/^listening/, { timeoutMs: 60_000 });
}
const one = aBackend(b.ip, 8081);
const two = aBackend(b.ip, 8082);
const host = aHostTable({ nodeIps: [a.ip] });
const withFrontend = (more: Partial<Frontend>) => aCompiled([aFrontend({ address: "10.96.0.10", ...more })]);
const ask = async (requests: number): Promise<Record<string, Record<string, number>>> => {
  const args = ["--url", "http://10.96.0.10/", "--requests", String(requests), "--timeout-ms", "10000"];
  const { stdout } = await a.run("node", ["test/fleet/http-ask.ts", ...args], { timeoutMs: 90_000 });
  const { answers, failures } = JSON.parse(stdout) as Record<"answers" | "failures", Record<string, number>>;
  return { answers, failures };
};
const servers = async (): Promise<readonly string[]> => (await a.run("ipvsadm", ["-Sn"])).stdout.trim().split("\n").toSorted();

await a.run("ipvsadm", ["-A", "-t", "192.0.2.1:80", "-s", "wlc"]);
const { driver } = ipvsDriverOn(a);
let now = withFrontend({ backends: [one, { ...two, weight: 3 }] });
const change = async (next: typeof now): Promise<void> => {
  const changes: ServiceChange[] = [{ key: now.key, previous: now, next }];
  await driver.update(changes, signal);
  now = next;
};
await driver.sync(aTable([now], host), signal);
see("weights", await ask(40));

await change(withFrontend({ backends: [one, two], affinitySeconds: 60 }));
see(
  "affinity",
  Object.values(await ask(10)).map((found) => Object.values(found)),
);

await change(withFrontend({ backends: [one] }));
const stream = await a.spawn("curl", ["-sN", "http://10.96.0.10/stream"]);
await stream.waitForLine(/^8081 /, { timeoutMs: 30_000 });
const ticks = async (): Promise<number> => (await stream.output()).trim().split("\n").length;
const goesOn = async (): Promise<boolean> => {
  const before = await ticks();
  return await waitFor(async () => (await ticks()) > before + 3, { what: "the open connection to go on", timeoutMs: 20_000 });
};
await change(withFrontend({ backends: [two] }));
await driver.verify(signal);
see("drain: new connections", await ask(6));
see("drain: the open connection goes on", await goesOn());
see("drain: weights", await servers());

const { driver: restarted } = ipvsDriverOn(a);
await restarted.sync(aTable([now], host), signal);
see("restart: the open connection goes on", await goesOn());
see("restart: the same", await servers());

process.stdout.write(`${JSON.stringify(seen)}\n`);
