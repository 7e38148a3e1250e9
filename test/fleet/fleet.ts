import { execa } from "execa";
import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  containerPlace,
  containerSubnets,
  dockerPlace,
  hostPlace,
  maxContainersPerHost,
  maxHosts,
  outPlace,
  type Place,
  switchPlace,
} from "./addresses.ts";
import { type Host, type IptablesKind, startHost } from "./host.ts";
import { claimFleet, disownFleet, removeFleet, removeOrphanedFleets, stateFolder } from "./teardown.ts";

export type { Host, IptablesKind } from "./host.ts";
export type { Program } from "./program.ts";

export interface FleetOptions<N extends number = number> {
  hosts: N;
  containersPerHost?: number | readonly number[]; // 0: no docker0 either; a list: of each host, the last one of all that follow
  containerNetwork?: "masqueraded" | "routed"; // as plain Docker does it, or with a route to every host's containers
  backend?: IptablesKind; // what `iptables` is on every machine
  name?: string; // to find it again; leftovers of the same name are removed first
}

export interface Fleet<H extends readonly Host[] = readonly Host[]> extends AsyncDisposable {
  readonly name: string;
  readonly hosts: H;
  readonly out: Host; // a client that is not one of the hosts
  host(name: string): Host; // also containers and out
  cut(host: Host): Promise<void>; // pulls the host's cable at the switch
  heal(host: Host): Promise<void>;
  keep(): Promise<void>; // from now on it outlives this process; disposing does nothing, removeFleet(name) ends it
}

// Three hosts asked for, three typed: `const [a, b, c] = fleet.hosts`.
type Machines<N extends number, T extends Host[] = []> = number extends N
  ? readonly Host[]
  : T["length"] extends N
    ? Readonly<T>
    : Machines<N, [...T, Host]>;

interface Plan {
  name: string;
  hosts: number;
  containersOf: (host: number) => number;
  routed: boolean;
  backend: IptablesKind;
}

export async function createFleet<const N extends number>(options: FleetOptions<N>): Promise<Fleet<Machines<N>>> {
  const plan = planOf(options);
  await mkdir(stateFolder, { recursive: true });
  await removeOrphanedFleets();
  await removeFleet(plan.name);
  await claimFleet(plan.name);
  try {
    return await build<N>(plan);
  } catch (error) {
    await removeFleet(plan.name);
    throw error;
  }
}

function planOf({
  hosts,
  containersPerHost = 0,
  containerNetwork = "masqueraded",
  backend = "nft",
  name = uniqueName(),
}: FleetOptions): Plan {
  if (process.getuid?.() !== 0) throw new Error("a fleet consists of network namespaces: making them takes root");
  if (!/^[a-z0-9]{1,10}$/.test(name)) throw new Error(`bad fleet name ${name}: 1 to 10 of a-z and 0-9`);
  if (!(hosts >= 1 && hosts <= maxHosts)) throw new Error(`${hosts} hosts: a fleet has 1 to ${maxHosts}`);
  const counts = [containersPerHost].flat();
  for (const containers of counts)
    if (!(containers >= 0 && containers <= maxContainersPerHost)) throw new Error(`${containers} containers: 0 to ${maxContainersPerHost}`);
  const containersOf = (host: number): number => counts[host - 1] ?? counts.at(-1) ?? 0;
  return { name, hosts, containersOf, routed: containerNetwork === "routed", backend };
}

function uniqueName(): string {
  return `f${process.pid.toString(36)}${randomBytes(4).readUInt32BE().toString(36)}`.slice(0, 10);
}

async function build<N extends number>(plan: Plan): Promise<Fleet<Machines<N>>> {
  const numbers = count(plan.hosts);
  const containers = numbers.flatMap((host) => count(plan.containersOf(host)).map((container) => ({ host, container })));
  const names = ["sw", "out", ...numbers.map((host) => `h${host}`), ...containers.map(({ host, container }) => `h${host}c${container}`)];
  await ip(
    [],
    names.flatMap((name) => [`netns add ${netns(plan, name)}`]),
  );
  const machines = new Map<string, Host>();
  const logFolder = join(stateFolder, plan.name);
  await mkdir(logFolder, { recursive: true });
  const start = async (name: string, place: Place, behind: readonly Host[] = []): Promise<Host> => {
    const machine = await startHost({ name, netns: netns(plan, name), place, containers: behind, logFolder }, plan.backend);
    machines.set(name, machine);
    return machine;
  };
  const startContainers = (host: number) =>
    all(count(plan.containersOf(host)), (container) => start(`h${host}c${container}`, containerPlace(host, container)));

  const sw = await start("sw", switchPlace);
  await wireSwitch(plan, sw);
  const out = await start("out", outPlace);
  await plugIn(plan, out, outPlace);
  const hosts = await all(numbers, async (number) => {
    const host = await start(`h${number}`, hostPlace(number), await startContainers(number));
    await plugIn(plan, host, hostPlace(number));
    if (plan.containersOf(number) > 0) await wireContainers(plan, host, number);
    if (plan.routed) await ip(["-n", host.netns], routesToOthers(plan, number));
    return host;
  });

  let kept = false;
  const link = async (host: Host, state: "up" | "down"): Promise<void> =>
    ip(["-n", netns(plan, "sw")], [`link set v-${host.name} ${state}`]);
  return {
    name: plan.name,
    hosts: hosts as readonly Host[] as Machines<N>, // numbers has N elements
    out,
    host(name) {
      const machine = machines.get(name);
      if (!machine) throw new Error(`no machine ${name} in this fleet: there are ${[...machines.keys()].join(", ")}`);
      return machine;
    },
    cut: (host) => link(host, "down"),
    heal: (host) => link(host, "up"),
    async keep() {
      kept = true;
      await disownFleet(plan.name);
    },
    async [Symbol.asyncDispose]() {
      if (!kept) await removeFleet(plan.name);
    },
  };
}

async function wireSwitch(plan: Plan, sw: Host): Promise<void> {
  // Otherwise the switch's own iptables would see the hosts' traffic. Absent where the kernel has br_netfilter as a module that is not loaded.
  for (const family of ["iptables", "ip6tables"])
    await sw.run("sysctl", ["-q", "--ignore", "-w", `net.bridge.bridge-nf-call-${family}=0`], { reject: false });
  await ip(["-n", netns(plan, "sw")], ["link set lo up", ...bridge("br0", switchPlace)]);
}

// The machine's eth0 at the switch.
async function plugIn(plan: Plan, machine: Host, place: Place): Promise<void> {
  await ip(["-n", netns(plan, "sw")], cable(`v-${machine.name}`, machine.netns, "br0"));
  await ip(["-n", machine.netns], eth0(place));
}

async function wireContainers(plan: Plan, host: Host, number: number): Promise<void> {
  const cables = host.containers.flatMap((container) => cable(`v-${container.name}`, container.netns, "docker0"));
  await ip(["-n", host.netns], [...bridge("docker0", dockerPlace(number)), ...cables]);
  await all(host.containers, (container, index) => ip(["-n", container.netns], eth0(containerPlace(number, index + 1))));
  if (!plan.routed)
    await host.run("iptables", [
      "-w",
      "-t",
      "nat",
      "-A",
      "POSTROUTING",
      "-s",
      containerSubnets(number).v4,
      "!",
      "-o",
      "docker0",
      "-j",
      "MASQUERADE",
    ]);
}

function routesToOthers(plan: Plan, number: number): string[] {
  const others = count(plan.hosts).filter((other) => other !== number && plan.containersOf(other) > 0);
  return others.flatMap((other) => [
    `route add ${containerSubnets(other).v4} via ${hostPlace(other).ip}`,
    `route add ${containerSubnets(other).v6} via ${hostPlace(other).ip6}`,
  ]);
}

const bridge = (name: string, place: Place): string[] => [
  `link add ${name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
  `addr add ${place.ip}/${place.prefix} dev ${name}`,
  `addr add ${place.ip6}/${place.prefix6} dev ${name} nodad`,
  `link set ${name} up`,
];

const cable = (name: string, into: string, bridgeName: string): string[] => [
  `link add ${name} type veth peer name eth0 netns ${into}`,
  `link set ${name} master ${bridgeName} up`,
];

const eth0 = (place: Place): string[] => [
  "link set lo up",
  `addr add ${place.ip}/${place.prefix} dev eth0`,
  `addr add ${place.ip6}/${place.prefix6} dev eth0 nodad`,
  "link set eth0 up",
  `route add default via ${place.gateway}`,
  `route add default via ${place.gateway6}`,
];

const netns = (plan: Plan, machine: string): string => `${plan.name}-${machine}`;
const count = (n: number): number[] => Array.from({ length: n }, (_, index) => index + 1);

async function ip(options: readonly string[], lines: readonly string[]): Promise<void> {
  await execa("ip", [...options, "-batch", "-"], { input: `${lines.join("\n")}\n` });
}

// In groups: a hundred hosts at once would be a thousand processes. When one fails, its siblings have ended before we say so.
async function all<T, R>(items: readonly T[], make: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const made: R[] = [];
  for (let at = 0; at < items.length; at += 8) {
    const group = await Promise.allSettled(items.slice(at, at + 8).map((item, index) => make(item, at + index)));
    for (const outcome of group) {
      if (outcome.status === "rejected") throw outcome.reason;
      made.push(outcome.value);
    }
  }
  return made;
}
