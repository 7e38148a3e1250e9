// A real server, and a real agent with --dataplane ipvs, in a kernel of its own (test/fleet/uml.ts):  node test/e2e/ipvs-agent-program.ts
// Prints what was seen as one JSON line; ipvs.e2e.test.ts says what it must be.
import { pause } from "#proto/backoff.ts";
import { createFleet, type Host, type Program } from "#test/fleet/fleet.ts";
import { openStation, type Station } from "#test/fleet/stations.ts";
import { waitFor } from "#test/wait-for.ts";
import {
  aService,
  aWorkload,
  fairlead,
  joinHost,
  openApi,
  serveHttp,
  servicesPath,
  startAgent,
  startServer,
  workloadsPath,
} from "./agent-rig.ts";
import { beginInGuest, everythingOn, ruleNamesOn } from "./ipvs-rig.ts";

const { signal, see, print } = beginInGuest();

await using fleet = await createFleet({ hosts: 2, containersPerHost: [0, 1], backend: "legacy" });
const [h1, h2] = fleet.hosts;
const [container] = h2.containers as readonly [Host]; // as many as were asked for
await using stations = new AsyncDisposableStack();
const open = async (machine: Host): Promise<Station> => stations.use(await openStation(machine));
const [onH2, onContainer] = (await Promise.all([h2, container].map(open))) as [Station, Station];
await onH2.listen([{ address: h2.ip, port: 8082, protocol: "tcp" }]);
for (const port of [8080, 8081]) await serveHttp(h2, `at-${port}`, port);

await startServer(h1);
const api = await openApi(h1);
await joinHost(h2, { api, server: h1 });
const untouched = await everythingOn(h2);

const mode = async (dataplane: string): Promise<Program> => startAgent(h2, "--dataplane", dataplane);
const curl = async (): Promise<string> => {
  const { stdout } = await h2.run("curl", ["-s", "-m", "2", "http://10.96.0.50/"], { reject: false });
  return stdout.split(" ")[0] ?? "";
};
const answersFrom = (wanted: string): Promise<true> =>
  waitFor(async () => (await curl()) === wanted, { what: `an answer from ${wanted}`, timeoutMs: 60_000, intervalMs: 200 }).then(() => true);
const retarget = async (targetPort: number): Promise<void> => {
  await api.call("PATCH", `${servicesPath}/web`, { spec: { ports: [{ port: 80, targetPort }] } });
};

let agent = await mode("ipvs");
await api.create(workloadsPath, aWorkload("web", h2));
await api.create(servicesPath, aService("web"));
await api.create(servicesPath, aService("raw", { clusterIP: "10.96.0.51", ports: [{ port: 80, targetPort: 8082 }] }));
see("made", await answersFrom("at-8080"));
see("rules", await ruleNamesOn(h2));
await retarget(8081);
see("changed", await answersFrom("at-8081"));
await agent.kill();
see("killed", await curl());
await retarget(8080);

const load = openLoad({ host: onH2, container: onContainer });
agent = await mode("iptables-legacy");
await onlyRules(["FL-"]);
see("restarted", await answersFrom("at-8080"));
await agent.stop();
agent = await mode("ipvs");
await onlyRules(["FLV-"]);
see("switch", await load.stop());

await agent.stop();
const { exitCode, stdout } = await h2.run(fairlead, ["agent", "cleanup"], { reject: false, timeoutMs: 120_000 });
see("cleanup", { exitCode, stdout: stdout.trim().split("\n").at(-1) });
const left = await everythingOn(h2);
see(
  "left",
  Object.keys(untouched).filter((look) => left[look] !== untouched[look]),
);

print();

async function onlyRules(wanted: readonly string[]): Promise<void> {
  const isSo = async (): Promise<boolean> => (await ruleNamesOn(h2)).join() === wanted.join();
  await waitFor(isSo, { what: `only ${wanted.join()}`, timeoutMs: 120_000, intervalMs: 200 });
}

/** Connections without end, one after the other, from each. */
function openLoad(senders: Readonly<Record<string, Station>>): { stop(): Promise<unknown> } {
  const found: Record<string, { enough: boolean; failures: Record<string, number> }> = {};
  let isStopped = false;
  const running = Object.entries(senders).map(async ([name, station]) => {
    let answered = 0;
    const failures: Record<string, number> = {};
    while (!isStopped) {
      const one = await station.ask({ address: "10.96.0.51", port: 80, protocol: "tcp", times: 1, timeoutMs: 8_000 });
      answered += Object.keys(one.answers).length;
      for (const why of Object.keys(one.failures)) {
        failures[why] = (failures[why] ?? 0) + 1;
        process.stderr.write(`${Math.round(performance.now())} ms: ${name} failed: ${why}\n`);
      }
      await pause(100, signal); // one CPU does it all
    }
    found[name] = { enough: answered >= 50, failures };
  });
  return {
    async stop() {
      isStopped = true;
      await Promise.all(running);
      return found;
    },
  };
}
