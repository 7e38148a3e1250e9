// What IPVS does over time, in a kernel of its own (test/fleet/uml.ts):  node test/e2e/ipvs-program.ts
// Prints what was seen as one JSON line; ipvs.e2e.test.ts says what it must be.
import { writeFile } from "node:fs/promises";
import type { Frontend, ServiceChange } from "#agent/compile/table.ts";
import { createFleet } from "#test/fleet/fleet.ts";
import { openStation, type Seen } from "#test/fleet/stations.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { cuts } from "./ipvs-cuts.ts";
import { PORTS, schedulersSeen, spreadOfClients, stayOfClient, UDP_PORTS } from "./ipvs-choices.ts";
import { repairs } from "./ipvs-damage.ts";
import { beginInGuest, ipvsDriverOn, sysctlsOn } from "./ipvs-rig.ts";

const { signal, see, print } = beginInGuest();
// A kernel that lacks a module, as far as anybody can see who asks for it.
await writeFile("/etc/modprobe.d/fairlead-test.conf", "install ip_vs_sed /bin/false\n");

await using fleet = await createFleet({ hosts: 2, backend: "legacy" });
const [a, b] = fleet.hosts;
// One program on each host for all: starting one costs a second here.
await using servers = await openStation(b);
await using client = await openStation(a);
await servers.listen(PORTS.map((port) => ({ address: b.ip, port, protocol: "tcp" })));
await servers.listen(UDP_PORTS.map((port) => ({ address: b.ip, port, protocol: "udp" })));
const one = aBackend(b.ip, 8081);
const two = aBackend(b.ip, 8082);
const host = aHostTable({ nodeIps: [a.ip] });
const withFrontend = (more: Partial<Frontend>) => aCompiled([aFrontend({ address: "10.96.0.10", ...more })]);
/** By the ports of who answered. */
const ask = async (times: number): Promise<Pick<Seen, "answers" | "failures">> => {
  const { answers, failures } = await client.ask({ address: "10.96.0.10", port: 80, protocol: "tcp", times, timeoutMs: 10_000 });
  return { answers: Object.fromEntries(Object.entries(answers).map(([place, count]) => [portOf(place), count])), failures };
};
const portOf = (place: string): string => place.slice(place.lastIndexOf(":") + 1);
const virtualServers = async (): Promise<readonly string[]> => (await a.run("ipvsadm", ["-Sn"])).stdout.trim().split("\n").toSorted();

const addOthersServer = async (): Promise<void> => {
  await a.run("ipvsadm", ["-A", "-t", "192.0.2.1:80", "-s", "wlc"]);
};
await addOthersServer();
await a.run("ipset", ["restore"], { input: "create others hash:ip\nadd others 192.0.2.9\n" });
const othersRules = "*filter\n:OTHERS - [0:0]\n-A OTHERS -m set --match-set others src -j DROP\n-A INPUT -j OTHERS\nCOMMIT\n";
await a.run("iptables-restore", ["--noflush"], { input: othersRules });
await a.run("sysctl", ["-qw", "net.ipv4.vs.sloppy_tcp=1"]);

const sysctls = sysctlsOn(a);
const { driver } = ipvsDriverOn(a, "IPv4", { sysctls });
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
const stream = await a.spawn("perl", ["test/e2e/open-connection.pl", "10.96.0.10", "80"]);
await stream.waitForLine(/:8081 /, { timeoutMs: 30_000 });
const ticks = async (): Promise<number> => (await stream.output()).trim().split("\n").length;
const goesOn = async (): Promise<boolean> => {
  const before = await ticks();
  return await waitFor(async () => (await ticks()) > before + 3, { what: "the open connection to go on", timeoutMs: 20_000 });
};
await change(withFrontend({ backends: [two] }));
await driver.verify(signal);
see("drain: new connections", await ask(6));
see("drain: the open connection goes on", await goesOn());
see("drain: weights", await virtualServers());

const { driver: restarted, logged } = ipvsDriverOn(a, "IPv4", { sysctls });
await restarted.sync(aTable([now], host), signal);
see("restart: the open connection goes on", await goesOn());
see("restart: the same", await virtualServers());

// Its client ends with a reset, which the kernel forgets after 10 s; a connection that was closed it forgets after 120 s.
await stream.kill();
const drained = async (): Promise<boolean> => {
  await restarted.verify(signal); // only the driver that wrote last finds what it wrote
  return !(await virtualServers()).join("\n").includes(":8081");
};
see("drain: idle", await waitFor(drained, { what: "the idle endpoint to be taken away", timeoutMs: 200_000, intervalMs: 500 }));

const outside = await openStation(fleet.out);
for (const to of ["10.96.0.0/16", "198.18.0.0/16"]) await fleet.out.run("ip", ["route", "add", to, "via", a.ip]);
const choices = { driver: restarted, host: a, endpoints: b, outside: fleet.out, asking: outside, signal };
see("schedulers", await schedulersSeen(choices));
see("spread", await spreadOfClients(choices));
see("stay", await stayOfClient(choices));
await outside[Symbol.asyncDispose]();

const isServed = async (): Promise<boolean> => Object.values((await ask(2)).answers)[0] === 2;
see("damage", await repairs({ host: a, driver: restarted, table: aTable([now], host), isServed, signal }));
await addOthersServer();

const later = async (next: typeof now): Promise<void> => {
  await restarted.update([{ key: next.key, previous: next.key === now.key ? now : undefined, next }], signal);
};
await later(withFrontend({ backends: [two], scheduler: "sed" }));
see("scheduler: instead of sed", (await virtualServers())[0]);
see(
  "scheduler: told",
  logged.filter(({ level }) => level === "warn").map(({ message }) => message),
);

const dns = (port: number) =>
  aCompiled([aFrontend({ address: "10.96.0.53", port: 53, protocol: "UDP", backends: [aBackend(b.ip, port)] })], "default/dns");
await restarted.update([{ key: "default/dns", previous: undefined, next: dns(5301) }], signal);
const args = ["--to", "10.96.0.53:53", "--count", "1000", "--every-ms", "50", "--same-socket"];
const asking = await a.spawn("node", ["test/fleet/udp-ask.ts", ...args]);
await asking.waitForLine(/:5301 /, { timeoutMs: 30_000 });
await restarted.update([{ key: "default/dns", previous: dns(5301), next: dns(5302) }], signal);
see("udp: the same socket comes to the other endpoint", (await asking.waitForLine(/:(5302) /, { timeoutMs: 15_000 }))[1]);
await asking.kill();

see("cuts", await cuts({ host: a, open: () => ipvsDriverOn(a, "IPv4", { sysctls }).driver, signal }));

print();
