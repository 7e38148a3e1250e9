import { MODES } from "#agent/dataplane/select.ts";
import type { Host, Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { type Api, ask, joinHost, openApi, servicesPath, startAgent, startServer } from "./agent-rig.ts";

/** One host with an agent, among the firewalls of others; its Services have endpoints by hand, each a place that the test names. */

export interface Place {
  readonly ip: string;
  readonly port: number;
  /** The host that it is on, as the server knows it. */
  readonly node?: string;
}

export interface Neighbourhood {
  readonly api: Api;
  readonly agent: Program;
  /** Makes a Service of one endpoint; its virtual IP. */
  serve(name: string, place: Place, spec?: object): Promise<string>;
  /** Asks for a new connection to `url`; who answered, or what came instead. */
  reach(from: Host, to: string): Promise<string>;
  /** So many changes of Services of every kind and of their endpoints, 100 a second. */
  changeAtRandom(changes: number): Promise<void>;
}

/** The data planes that this kernel has, and what plain `iptables` is on the host. */
export const DATAPLANES_HERE: readonly { readonly dataplane: string; readonly backend: "nft" | "legacy" }[] = [
  { dataplane: "iptables-nft", backend: "nft" },
  { dataplane: "iptables-legacy", backend: "legacy" },
  ...(MODES.includes("nftables") ? [{ dataplane: "nftables", backend: "nft" as const }] : []),
];

const slicesPath = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
/** Longer than the second after which a lost first packet is sent again. */
const TIMEOUT_MS = "1500";

export async function openNeighbourhood({
  host,
  server,
  agentFlags,
  serverFlags = [],
}: {
  readonly host: Host;
  readonly server: Host;
  readonly agentFlags: readonly string[];
  readonly serverFlags?: readonly string[];
}): Promise<Neighbourhood> {
  await startServer(server, "--log-level", "warn", ...serverFlags);
  const api = await openApi(server);
  await joinHost(host, { api, server });
  const agent = await startAgent(host, ...agentFlags);
  const reach: Neighbourhood["reach"] = async (from, to) => {
    const { answers, failures } = await ask(from, 1, `http://${to}/`, "--timeout-ms", TIMEOUT_MS);
    return [...Object.keys(answers), ...Object.keys(failures)].join();
  };
  return {
    api,
    agent,
    reach,
    async changeAtRandom(changes) {
      const program = ["test/e2e/coexistence-changes.ts", "--kubeconfig", "/etc/fairlead/admin.yaml", "--changes", String(changes)];
      const { stdout } = await server.run("node", program, { timeoutMs: 120_000 });
      const { created, changed } = JSON.parse(stdout) as { created: number; changed: number }; // what it says of itself
      if (created + changed < changes / 2) throw new Error(`the server took hardly any of the changes: ${stdout}`);
    },
    async serve(name, place, spec = {}) {
      await api.create(slicesPath, sliceOf(name, [place]));
      await api.create(servicesPath, {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name },
        spec: { ports: [{ name: "http", port: 80 }], ...spec },
      });
      const { body } = await api.call("GET", `${servicesPath}/${name}`);
      return (body as { spec: { clusterIP: string } }).spec.clusterIP; // from our own server
    },
  };
}

function sliceOf(service: string, places: readonly Place[]): object {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${service}-1`, labels: { "kubernetes.io/service-name": service } },
    addressType: "IPv4",
    endpoints: places.map(({ ip, node }) => ({ addresses: [ip], ...(node !== undefined && { nodeName: node }) })),
    ports: [{ name: "http", port: places[0]?.port ?? 80 }],
  };
}

/** Until the agent has what was made last: a change is there within milliseconds. */
export async function untilAnswered(neighbourhood: Neighbourhood, from: Host, { to, by }: { readonly to: string; readonly by: string }) {
  const { reach, agent } = neighbourhood;
  await waitFor(async () => (await reach(from, to)) === by, { what: `${by} to answer at ${to}`, timeoutMs: 10_000 }).catch(
    async (cause: unknown) => {
      throw new Error(`not answered; the agent says: ${(await agent.output()).slice(-2_000)}`, { cause });
    },
  );
}

/**
 * All rules of the host, in iptables of both kinds and nftables, without counters and times. `foreign`: without what is ours. Empty tables, which
 * iptables makes when it is only asked something, are left out.
 */
export async function rulesOn(host: Host, which: "all" | "foreign"): Promise<string> {
  const texts: string[] = [];
  for (const program of ["iptables-nft", "iptables-legacy", "ip6tables-nft", "ip6tables-legacy"])
    texts.push(`# ${program}`, ...tablesOf((await host.run(`${program}-save`)).stdout, which));
  for (const table of (await host.run("nft", ["list", "tables"])).stdout.split("\n").filter(Boolean)) {
    const [, family = "", name = ""] = table.split(" ");
    // What iptables-nft has made is listed above.
    if (["ip", "ip6"].includes(family) && ["nat", "filter", "mangle", "raw", "security"].includes(name)) continue;
    if (which === "foreign" && name.startsWith("fairlead")) continue;
    texts.push((await host.run("nft", ["-s", "list", "table", family, name])).stdout);
  }
  return texts.join("\n");
}

function tablesOf(saved: string, which: "all" | "foreign"): readonly string[] {
  const isOurs = (line: string): boolean =>
    /^(:|-A )FL[A-Z]?-/.test(line) || /--comment "?fairlead\b/.test(line) || / -j FL[A-Z]?-\S+$/.test(line);
  const kept = saved
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#") && (which === "all" || !isOurs(line)))
    .map((line) => line.replace(/ \[\d+:\d+\]$/, ""));
  return kept
    .join("\n")
    .split(/(?<=^COMMIT$)\n/m)
    .filter((table) => table !== "" && !/^\*\w+(\n:[A-Z]+ ACCEPT)*\nCOMMIT$/.test(table));
}
