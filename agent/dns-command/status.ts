import { readFile } from "node:fs/promises";
import type { PortHolder } from "#agent/host-resolver/facts.ts";
import { describeFile } from "#agent/host-resolver/facts.ts";
import { stateOfFile } from "#agent/host-resolver/file.ts";
import { WORDS } from "#agent/host-resolver/install.ts";
import { DNS_LINK, linkExists } from "#agent/host-resolver/link.ts";
import { DNS_PORT, parseServer } from "#agent/dns/server-address.ts";
import { parseResolvConf, RESOLV_CONF } from "#agent/dns/upstreams.ts";
import type { ThisHost } from "./host.ts";
import { askAsPrograms, askResolved, askServer, type Asked, type HostAsked, type Place } from "./ask.ts";
import { describeError } from "#proto/error.ts";
import { relayedTo, type Relayed } from "./relayed.ts";

/** Who answers this host's programs, found out by asking. */
export interface ResolverStatus {
  readonly node: string;
  readonly domain: string;
  readonly agent: "running" | "not running";
  readonly detected: string;
  /** How the host was told to ask us. */
  readonly installed: string | undefined;
  readonly resolvConf: { readonly what: string; readonly servers: readonly string[]; readonly state?: string | undefined };
  readonly link: "up" | "missing" | undefined;
  readonly port53: readonly PortHolder[];
  /** A name that every fleet has, by each way. */
  readonly name: string;
  readonly asPrograms: HostAsked;
  readonly asResolved?: HostAsked | undefined;
  readonly directly: readonly { readonly server: string; readonly says: string; readonly ok: boolean }[];
  /** Who is asked for the rest, and whether somebody answers there. */
  readonly others: readonly { readonly server: string; readonly says: string; readonly ok: boolean }[];
  /** Whoever is named in the host's list; the agent, where that names only the agent. */
  readonly othersAskedBy: "this host" | "the agent";
  /** Whom the agent asks for the names of some domains. */
  readonly stubs: Relayed["stubs"];
  readonly problems: readonly string[];
  readonly ok: boolean;
}

export async function resolverStatus(host: ThisHost, agent: Place): Promise<ResolverStatus> {
  const { settings, facts, record, tools, detection, isAgentRunning, answersAt } = host;
  const name = `ns.dns.${settings.domain}`;
  const servers = parseResolvConf(facts.resolvConf.text);
  const relayed = await relayedTo(host, agent);
  const isOnlyUs = servers.length > 0 && servers.every((server) => answersAt.includes(server));
  const type = settings.server.includes(":") ? "AAAA" : "A";
  const [asPrograms, asResolved, hasLink, directly, others, fileState] = await Promise.all([
    askAsPrograms(tools, name),
    facts.resolved.isActive ? askResolved(tools, name) : undefined,
    linkExists(),
    Promise.all(answersAt.map(async (server) => ({ server, ...saidBy(await askServer({ address: server, port: 53 }, name, type)) }))),
    Promise.all(
      (isOnlyUs ? relayed.upstreams : await othersAsked(servers)).map(async (server) => ({
        server,
        ...saidBy(await askServer(parseServer(server) ?? { address: server, port: DNS_PORT }, "", "NS")),
      })),
    ),
    record?.kind === "file" ? stateOfFile({}, record).catch((error: unknown) => describeError(error)) : undefined,
  ]);
  const isRight = asPrograms.answers.includes(settings.server);
  const status = {
    node: host.node,
    domain: settings.domain,
    agent: isAgentRunning ? ("running" as const) : ("not running" as const),
    detected: detection.summary,
    installed: record && WORDS[record.kind],
    resolvConf: { what: describeFile(facts.resolvConf), servers, state: fileState },
    link: record?.kind === "resolved" ? (hasLink ? ("up" as const) : ("missing" as const)) : undefined,
    port53: facts.port53,
    name,
    asPrograms,
    asResolved,
    directly,
    others,
    othersAskedBy: isOnlyUs ? ("the agent" as const) : ("this host" as const),
    stubs: relayed.stubs,
    ok: isRight,
  };
  return { ...status, problems: problemsOf(status, settings.server) };
}

/** resolved's own list, where the host asks its stub: those are asked in the end. */
async function othersAsked(servers: readonly string[]): Promise<readonly string[]> {
  if (!servers.some((server) => /^127\.0\.0\.5[34]$/.test(server))) return servers;
  return parseResolvConf(await readFile(RESOLV_CONF.resolved, "utf8").catch(() => ""));
}

function saidBy(asked: Asked): { readonly says: string; readonly ok: boolean } {
  if (!asked.ok) return { says: asked.why, ok: false };
  const { rcode, records } = asked.answer;
  return {
    says: `${rcode}${
      records.length === 0
        ? ""
        : ` ${records
            .map(({ data }) => data)
            .slice(0, 3)
            .join(", ")}`
    } (${asked.ms} ms)`,
    ok: true,
  };
}

function problemsOf(status: Omit<ResolverStatus, "problems">, server: string): string[] {
  const { agent, installed, asPrograms, resolvConf, link, ok, directly } = status;
  const beside = resolvConf.servers.includes(server) ? resolvConf.servers.filter((other) => other !== server) : [];
  return [
    ...(agent === "running" ? [] : ["the agent does not run: nobody answers for the fleet's names (`sudo fairlead agent`)"]),
    ...(agent === "running" && !directly.some((one) => one.ok)
      ? ["the agent runs, and does not answer: `fairlead describe node` says what is in its way"]
      : []),
    ...(installed === undefined && !ok ? ["this host was not told to ask the agent: `sudo fairlead dns install`"] : []),
    ...(link === "missing" ? [`the link ${DNS_LINK} is not there: the agent makes it within a second when it runs`] : []),
    ...(beside.length > 0
      ? [
          `/etc/resolv.conf lists ${beside.join(", ")} beside us: whoever answers first is believed, and they know nothing of the fleet's names`,
        ]
      : []),
    ...(resolvConf.state === "others'" ? ["/etc/resolv.conf was rewritten since: `sudo fairlead dns install --write` takes it again"] : []),
    ...(resolvConf.state === "elsewhere"
      ? ["/etc/resolv.conf leads to another file than when it was taken: `sudo fairlead dns install` says what can be done now"]
      : []),
    ...(ok
      ? []
      : [`the programs of this host do not find the fleet's names: ${asPrograms.why ?? `they get ${asPrograms.answers.join(", ")}`}`]),
  ];
}

function othersText({ others, othersAskedBy }: ResolverStatus): string {
  if (others.length === 0) return othersAskedBy === "the agent" ? "nobody: the agent knows no upstream" : "nobody is named";
  const servers = others.map(({ server }) => server).join(", ");
  return othersAskedBy === "the agent" ? `${servers}, asked by the agent` : servers;
}

/** For people. Pure. */
export function renderStatus(status: ResolverStatus): string {
  const { resolvConf, port53, asPrograms, asResolved, directly, others } = status;
  const rows: [string, string][] = [
    [
      `*.${status.domain}`,
      status.ok
        ? `the agent of this host (${status.node}), by ${status.installed ?? "what somebody else has set up"}`
        : "nobody, for the programs of this host",
    ],
    ["all other names", othersText(status)],
    ...status.stubs.map(({ suffix, servers }): [string, string] => [`*.${suffix}`, `${servers.join(", ")}, asked by the agent`]),
    ["", ""],
    ["agent", status.agent],
    ["resolver", status.detected],
    [
      "resolv.conf",
      `${resolvConf.what}: ${resolvConf.servers.join(", ") || "no name server"}${resolvConf.state === undefined ? "" : ` (${resolvConf.state})`}`,
    ],
    ...(status.link === undefined ? [] : ([["link", `${DNS_LINK} ${status.link}`]] as [string, string][])),
    ["port 53", port53.map(({ address, program }) => (program === undefined ? address : `${address} ${program}`)).join(", ") || "free"],
    ["", ""],
    [asPrograms.by, asPrograms.answers.join(", ") || (asPrograms.why ?? "")],
    ...(asResolved ? ([[asResolved.by, asResolved.answers.join(", ") || (asResolved.why ?? "")]] as [string, string][]) : []),
    ...directly.map(({ server, says }): [string, string] => [`${status.name} of ${server}`, says]),
    ...others.map(({ server, says }): [string, string] => [`. NS of ${server}`, says]),
  ];
  const width = Math.max(...rows.map(([left]) => left.length));
  const lines = rows.map(([left, right]) => `${left.padEnd(width)}  ${right}`.trimEnd());
  return [...lines, ...status.problems.map((problem) => `problem: ${problem}`), ""].join("\n");
}
