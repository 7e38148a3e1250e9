// What holds whatever happens to a host with IPVS, in a kernel of its own (test/fleet/uml.ts):  node test/e2e/ipvs-holds-program.ts
// Prints what was seen as one JSON line; ipvs.e2e.test.ts says what it must be.
import { createFleet, type Host } from "#test/fleet/fleet.ts";
import { openStation, type Station } from "#test/fleet/stations.ts";
import { rangesHeld } from "./ipvs-closed.ts";
import { historyOf } from "./ipvs-histories.ts";
import { beginInGuest } from "./ipvs-rig.ts";
import { switches } from "./ipvs-switch.ts";

const { signal, see, print } = beginInGuest();

await using fleet = await createFleet({ hosts: 2, containersPerHost: [1, 0], backend: "legacy" });
const [host, friend] = fleet.hosts;
const [container] = host.containers as readonly [Host]; // as many as were asked for
const outsider = fleet.out;
await using stations = new AsyncDisposableStack();
const open = async (machine: Host): Promise<Station> => stations.use(await openStation(machine));
const [onHost, onFriend, onContainer, onOutsider] = (await Promise.all([host, friend, container, outsider].map(open))) as [
  Station,
  Station,
  Station,
  Station,
];

for (const family of ["IPv4", "IPv6"] as const)
  see(`history, ${family}`, await historyOf(family, { changed: host, synced: friend, signal }));

// /proc/net/ip_vs is read page by page, and for the second page the kernel counts the virtual servers of all namespaces as if they were this one's: with two
// hosts in one kernel some of ours are not listed then, and open connections not seen. A host of the fleet is alone in its kernel.
await friend.run("ipvsadm", ["-C"]);

const senders = { host: onHost, container: onContainer, outsider: onOutsider };
await outsider.run("ip", ["route", "add", "10.96.0.0/16", "via", host.ip]);
see("switches", await switches({ host, endpoint: friend, onEndpoint: onFriend, senders, signal }));

see("ranges", await rangesHeld({ host, onHost, friend, onFriend, outsider, onOutsider, container, onContainer, signal }));

print();
