// IPVS beside what others have on the host, in a kernel of its own (test/fleet/uml.ts):  node test/e2e/ipvs-beside-program.ts
// Prints what was seen as one JSON line; ipvs.e2e.test.ts says what it must be.
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { IpFamily } from "#proto/ip.ts";
import { createFleet, type Host } from "#test/fleet/fleet.ts";
import { openStation, type Station } from "#test/fleet/stations.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { beginInGuest, everythingOn, ipvsDriverOn, sysctlsOn } from "./ipvs-rig.ts";
import { DOCKER_PUTS_ITSELF_FIRST, dockerRules, FIREWALLD_RULES } from "./others-rules.ts";

const { signal, see, print } = beginInGuest();

const FAMILIES: readonly IpFamily[] = ["IPv4", "IPv6"];
await using fleet = await createFleet({ hosts: 2, containersPerHost: [2, 0], backend: "legacy" });
const [a, b] = fleet.hosts;
const [c1, c2] = a.containers as readonly [Host, Host]; // as many as were asked for
await using stations = new AsyncDisposableStack();
const open = async (machine: Host): Promise<Station> => stations.use(await openStation(machine));
const [onA, onB, onC1, onC2, onOut] = await Promise.all([open(a), open(b), open(c1), open(c2), open(fleet.out)]);

const SECOND_NETWORK = "10.201.1.12";
await a.run("ip", ["-batch", "-"], {
  input: `link add br-0123456789ab type bridge stp_state 0 forward_delay 0\naddr add 10.201.1.1/24 dev br-0123456789ab
link set br-0123456789ab up\nlink set v-${c2.name} master br-0123456789ab\nlink set v-${c1.name} type bridge_slave hairpin on\n`,
});
await c2.run("ip", ["-batch", "-"], {
  input: `addr flush dev eth0\naddr add ${SECOND_NETWORK}/24 dev eth0\nroute add default via 10.201.1.1\n`,
});
await fleet.out.run("ip", ["route", "add", "10.96.0.0/16", "via", a.ip]);

const tcp = (address: string, ...ports: number[]) => ports.map((port) => ({ address, port, protocol: "tcp" as const }));
// 9999 of the host is what docker-proxy would be.
await onA.listen([...tcp(a.ip, 9_999, 32_000, 32_001), ...tcp(a.ip6, 32_000, 32_001)]);
await onB.listen(tcp(b.ip, 8080));
await onC1.listen(tcp(c1.ip, 8080, 8081));
await onC2.listen(tcp(SECOND_NETWORK, 8080));
const asked = async (from: Station, address: string, port = 80): Promise<string> => {
  const { answers, failures } = await from.ask({ address, port, protocol: "tcp", times: 1, timeoutMs: 1_500 });
  return [...Object.keys(answers), ...Object.keys(failures)].join(" ");
};

const host = aHostTable({
  serviceCidrs: ["10.96.0.0/16", "fd00:10:96::/112"],
  nodeIps: [a.ip, a.ip6],
  localCidrs: ["10.200.1.0/24", "10.201.1.0/24"],
  forwards: ["IPv4", "IPv6"],
});
const sysctls = sysctlsOn(a);
const openDriver = (family: IpFamily): DataplaneDriver =>
  ipvsDriverOn(a, family, { sysctls: { ensure: sysctls.ensure, restore: async () => [] } }).driver;
/** As the agent does it: the families, and then what is for both. */
const cleanup = async (dryRun: boolean): Promise<readonly string[]> => {
  const removed: string[] = [];
  for (const family of FAMILIES) {
    const driver = openDriver(family);
    removed.push(...(await driver.cleanup({ dryRun }, signal)));
    driver.close();
  }
  return [...removed, ...(await sysctls.restore({ dryRun }))];
};

/** Each has one endpoint. */
const SERVICES = {
  "a container": ["10.96.0.11", c1.ip, 8081],
  "a published container": ["10.96.0.12", c1.ip, 8080],
  "a container on another network": ["10.96.0.13", SECOND_NETWORK, 8080],
  "another host": ["10.96.0.14", b.ip, 8080],
  "a published port of this host": ["10.96.0.15", a.ip, 9_999],
} as const;
const services = Object.entries(SERVICES).map(([name, [address, to, port]], i) =>
  aCompiled([aFrontend({ id: `default/s${i}:http`, address, backends: [aBackend(to, port, { isLocal: to !== b.ip })] })], name),
);
const SENDERS = { host: onA, container: onC1, outside: onOut } as const;

/** Whoever is wrong, in words. */
async function strays(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [sender, from] of Object.entries(SENDERS))
    for (const [name, [address, to, port]] of Object.entries(SERVICES)) {
      const answer = await asked(from, address);
      if (answer !== `${to}:${port}`) found.push(`${sender} -> ${name}: ${answer}`);
    }
  if ((await asked(onOut, a.ip, 9_999)) !== `${c1.ip}:8080`) found.push("the published port itself");
  return found;
}

async function besideDocker(): Promise<void> {
  await a.run("iptables-restore", ["--noflush"], { input: dockerRules({ container: c1.ip, published: 9_999 }) });
  const driver = openDriver("IPv4");
  await driver.sync(aTable(services, host), signal);
  see("docker", await strays());
  await a.run("iptables-restore", ["--noflush"], { input: DOCKER_PUTS_ITSELF_FIRST });
  see("docker: after a new network", await strays());
  driver.close();
}

/** On top of Docker's: it takes INPUT, and refuses in FORWARD what nobody has let in before. */
async function besideFirewalld(): Promise<void> {
  await a.run("iptables-restore", ["--noflush"], { input: FIREWALLD_RULES });
  const driver = openDriver("IPv4");
  await driver.sync(aTable(services, host), signal);
  see("firewalld", await strays());
  see("firewalld: other ports stay closed", await asked(onOut, a.ip, 32_001));
  driver.close();
}

async function healthPorts(family: IpFamily): Promise<void> {
  const driver = openDriver(family);
  const opened = async (): Promise<readonly number[]> => {
    const found: number[] = [];
    for (const port of [32_000, 32_001])
      if ((await asked(onOut, family === "IPv4" ? a.ip : a.ip6, port)).includes(`:${port}`)) found.push(port);
    return found;
  };
  const key = "default/web";
  const withPort = (port: number | undefined) =>
    aCompiled(
      [aFrontend({ family, scope: "nodePort", address: "", port: 30_080, backends: [aBackend(family === "IPv4" ? b.ip : b.ip6)] })],
      key,
      {
        healthCheck: port === undefined ? undefined : { port, localEndpoints: 0 },
      },
    );
  const steps: (readonly number[])[] = [];
  await driver.sync(aTable([withPort(undefined)], host), signal);
  steps.push(await opened());
  await driver.update([{ key, previous: withPort(undefined), next: withPort(32_000) }], signal);
  steps.push(await opened());
  await driver.update([{ key, previous: withPort(32_000), next: withPort(32_001) }], signal);
  steps.push(await opened());
  await driver.sync(aTable([withPort(32_000)], { ...host, nodePortCidrs: ["192.0.2.0/24", "2001:db8:5::/64"] }), signal);
  steps.push(await opened());
  await driver.sync(aTable([withPort(32_000)], host), signal);
  steps.push(await opened());
  await driver.update([{ key, previous: withPort(32_000), next: undefined }], signal);
  steps.push(await opened());
  see(`health ports, ${family}`, steps);
  driver.close();
}

/** Of all kinds, also under names and numbers like ours. */
async function addOthersThings(): Promise<void> {
  const rules = (family: IpFamily, address: string) => `*mangle
:OTHERS - [0:0]
-A PREROUTING -j OTHERS
-A OTHERS -s ${address} -j MARK --set-xmark 0xf800001/0xffffffff
COMMIT
*nat
:OTHERS - [0:0]
-A POSTROUTING -s ${address} -j OTHERS
-A OTHERS -j ACCEPT
COMMIT
*filter
:OTHERS - [0:0]
-A INPUT -m set --match-set others${family} src -j OTHERS
-A OTHERS -m recent --rcheck --name others --rsource -j DROP
COMMIT
`;
  const sets = [
    "create othersIPv4 hash:ip\nadd othersIPv4 192.0.2.9",
    "create othersIPv6 hash:ip family inet6\nadd othersIPv6 2001:db8::9",
  ];
  await a.run("ipset", ["restore"], { input: `${sets.join("\n")}\ncreate FLV-others hash:ip\n` });
  await a.run("iptables-restore", ["--noflush"], { input: rules("IPv4", "192.0.2.0/24") });
  await a.run("ip6tables-restore", ["--noflush"], { input: rules("IPv6", "2001:db8::/64") });
  await a.run("ipvsadm", ["-R"], {
    input: `-A -t 192.0.2.1:80 -s wlc -p 300\n-a -t 192.0.2.1:80 -r 172.30.0.2:8080 -m -w 3
-A -t [2001:db8::1]:80 -s rr\n-a -t [2001:db8::1]:80 -r [fd30::2]:8080 -m -w 1\n-A -f 77 -s rr\n-A -f 78 -s rr -6\n`,
  });
  await a.run("ip", ["-batch", "-"], {
    input: `addr add 192.0.2.1/32 dev lo\naddr add 2001:db8::1/128 dev lo\nrule add from 192.0.2.0/24 lookup 9617 priority 9617
route add default dev lo table 9617\n`,
  });
  await a.run("sysctl", ["-qw", "net.ipv4.vs.sloppy_tcp=1", "net.ipv4.vs.expire_nodest_conn=1", "net.ipv4.conf.eth0.arp_ignore=1"]);
}

async function cleanupBesideOthers(): Promise<void> {
  await addOthersThings();
  const untouched = await everythingOn(a);
  for (const family of FAMILIES) {
    const six = family === "IPv6";
    const to = [aBackend(six ? b.ip6 : b.ip)];
    const all = [
      aFrontend({ family, address: six ? "fd00:10:96::20" : "10.96.0.20", backends: to, affinitySeconds: 60 }),
      aFrontend({ family, scope: "nodePort", address: "", port: 30_080, backends: to }),
      aFrontend({
        family,
        scope: "loadBalancer",
        address: six ? "fd30::99" : "172.30.9.9",
        backends: to,
        sourceRanges: [six ? "fd30::/64" : "172.30.0.0/16"],
      }),
      aFrontend({ family, scope: "external", address: six ? "2001:db8:7::1" : "203.0.113.7", backends: to }),
      aFrontend({ family, scope: "nodePort", address: "", port: 30_081, backends: to, affinitySeconds: 60 }),
      aFrontend({ family, scope: "external", address: six ? "2001:db8:7::2" : "203.0.113.8", backends: to, affinitySeconds: 60 }),
    ];
    const driver = openDriver(family);
    await driver.sync(aTable([aCompiled(all, "default/all", { healthCheck: { port: 32_000, localEndpoints: 0 } })], host), signal);
    driver.close();
  }
  // Their entries are not what says that virtual servers are ours.
  for (const digit of [4, 6]) for (const set of ["PLACES", "NODE"]) await a.run("ipset", ["flush", `FLV-${digit}-${set}`]);
  const said = await cleanup(true);
  const done = await cleanup(false);
  see("cleanup: says what it then does", { same: JSON.stringify(said) === JSON.stringify(done), enough: said.length > 60 });
  if (JSON.stringify(said) !== JSON.stringify(done)) process.stderr.write(`said ${said.join("\n")}\ndid ${done.join("\n")}\n`);
  see("cleanup: a second one", await cleanup(false));
  const left = await everythingOn(a);
  const differs = Object.keys(untouched).filter((look) => untouched[look] !== left[look]);
  see("cleanup: what is left is not what was there", differs);
  for (const look of differs) process.stderr.write(`${look}\nbefore:\n${untouched[look] ?? ""}\nafter:\n${left[look] ?? ""}\n`);
}

await besideDocker();
await besideFirewalld();
await a.run("ip6tables-restore", ["--noflush"], {
  input: "*filter\n:INPUT DROP [0:0]\n-A INPUT -p ipv6-icmp -j ACCEPT\nCOMMIT\n",
});
for (const family of FAMILIES) await healthPorts(family);
see("cleanup: first", (await cleanup(false)).length > 0);
await cleanupBesideOthers();
print();
