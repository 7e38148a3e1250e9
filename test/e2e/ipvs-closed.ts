import type { ForwardingTable } from "#agent/compile/table.ts";
import type { Host } from "#test/fleet/host.ts";
import type { Station } from "#test/fleet/stations.ts";
import { aBackend, aCompiled, aFrontend, aHostTable, aTable } from "#test/tables.ts";
import { waitFor } from "#test/wait-for.ts";
import { ipvsDriverOn } from "./ipvs-rig.ts";

/**
 * Source ranges of a load balancer while others take away what enforces them: somebody outside of the ranges asks all the time, for a port at which a
 * process of the host itself listens, too. For programs in User-Mode Linux.
 */

export interface Closed {
  readonly host: Host;
  readonly onHost: Station;
  /** May come in. */
  readonly friend: Host;
  readonly onFriend: Station;
  readonly outsider: Host;
  readonly onOutsider: Station;
  /** A container of the host, whose port PORT Docker would publish at all addresses of the host. */
  readonly container: Host;
  readonly onContainer: Station;
  readonly signal: AbortSignal;
}

export interface Held {
  /** Who answered the outsider while there was damage. */
  readonly leaked: readonly string[];
  /** What the friend gets when all is repaired. */
  readonly friend: readonly string[];
}

const PORT = 8443;
const ADDRESSES = { IPv4: "198.18.7.1", IPv6: "fd18:7::1" } as const;
const FAMILIES = ["IPv4", "IPv6"] as const;

const FLUSH_SETS = "ipset flush";
const FLUSH_RULES = ["iptables", "ip6tables"]
  .flatMap((tool) => ["mangle", "nat", "filter"].flatMap((table) => ["-F", "-X"].map((verb) => `${tool} -t ${table} ${verb}`)))
  .join("; ");
/** A file from before there was anything of ours, when Docker published the same port of every address of the host. */
const OLD_RULES = `*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER -p tcp -m tcp --dport ${PORT} -j DNAT --to-destination TO
COMMIT
*mangle
COMMIT
*filter
COMMIT
`;
const DAMAGES: Readonly<Record<string, string>> = {
  "ipset flush": FLUSH_SETS,
  "all tables of iptables": FLUSH_RULES,
  "all of it, an older file, sets destroyed": `${FLUSH_SETS}; ${FLUSH_RULES}; iptables-restore </tmp/older-4; ip6tables-restore </tmp/older-6; ipset destroy`,
};

export async function rangesHeld(closed: Closed): Promise<Readonly<Record<string, Held>>> {
  const { host, onHost, friend, outsider, container, onContainer, signal } = closed;
  await onContainer.listen([container.ip, container.ip6].map((address) => ({ address, port: PORT, protocol: "tcp" })));
  await onHost.listen([{ address: "::", port: PORT, protocol: "tcp" }]); // of both families
  for (const one of [friend, outsider]) {
    await one.run("ip", ["route", "add", ADDRESSES.IPv4, "via", host.ip]);
    await one.run("ip", ["-6", "route", "add", ADDRESSES.IPv6, "via", host.ip6]);
  }
  await host.run("tee", ["/tmp/older-4"], { input: OLD_RULES.replace("TO", `${container.ip}:${PORT}`) });
  await host.run("tee", ["/tmp/older-6"], { input: OLD_RULES.replace("TO", `[${container.ip6}]:${PORT}`) });
  const table = tableOf(closed);
  const drivers = FAMILIES.map((family) => ipvsDriverOn(host, family).driver);
  const repair = async (): Promise<void> => {
    for (const driver of drivers) await driver.sync(table, signal);
  };
  await repair();
  const found: Record<string, Held> = {};
  for (const [name, script] of Object.entries(DAMAGES)) found[name] = await held(closed, script, repair);
  return found;
}

/** The endpoint is the process of the host itself. */
function tableOf({ host, friend }: Closed): ForwardingTable {
  const frontends = FAMILIES.map((family) => {
    const own = family === "IPv4" ? host.ip : host.ip6;
    const range = family === "IPv4" ? `${friend.ip}/32` : `${friend.ip6}/128`;
    return aFrontend({
      family,
      scope: "loadBalancer",
      address: ADDRESSES[family],
      port: PORT,
      backends: [aBackend(own, PORT, { isLocal: true })],
      sourceRanges: [range],
    });
  });
  return aTable([aCompiled(frontends)], aHostTable({ nodeIps: [host.ip, host.ip6] }));
}

async function held({ host, onFriend, onOutsider }: Closed, script: string, repair: () => Promise<void>): Promise<Held> {
  const stop = new AbortController();
  let asked = 0;
  const leaked = new Set<string>();
  const asking = (async () => {
    while (!stop.signal.aborted)
      for (const address of Object.values(ADDRESSES)) {
        const { answers } = await onOutsider.ask({ address, port: PORT, protocol: "tcp", times: 1, timeoutMs: 200 });
        for (const one of Object.keys(answers)) leaked.add(one);
        asked++;
      }
  })();
  let afterDamage = 0;
  try {
    await host.run("sh", ["-c", script]);
    afterDamage = asked;
    await waitFor(() => asked >= afterDamage + 6, { what: "the outsider to ask", timeoutMs: 60_000 });
    await repair();
  } finally {
    stop.abort();
    await asking;
  }
  const friend: string[] = [];
  for (const address of Object.values(ADDRESSES)) {
    const { answers, failures } = await onFriend.ask({ address, port: PORT, protocol: "tcp", times: 1, timeoutMs: 5_000 });
    friend.push(...Object.keys(answers), ...Object.keys(failures));
  }
  return { leaked: [...leaked], friend };
}
