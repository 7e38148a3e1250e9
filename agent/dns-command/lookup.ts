import { nameToExplain, type ExplainReply, type WhoIsAsked } from "#agent/explain/explanation.ts";
import { parseListen } from "#agent/flags.ts";
import { readMembership } from "#agent/config.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";
import { reverseName } from "#agent/compile/dns-records.ts";
import { AppError, describeError } from "#proto/error.ts";
import { askHost, askServer, type Asked, type HostAsked, type Place } from "./ask.ts";
import { askAgent, PROBES_PORT } from "./ask-agent.ts";
import { ASKED_TYPES, type AskedType } from "./answer-text.ts";

export interface LookupFlags {
  readonly kubeconfig: string;
  readonly type: AskedType;
  readonly node: string | undefined;
  readonly agent: string;
}

export interface Lookup {
  readonly name: string;
  readonly type: AskedType;
  readonly node: string;
  /** What the responder says. undefined: it can be asked only on its own host. */
  readonly server: string | undefined;
  readonly asked: Asked | undefined;
  /** What the agent knows behind it; in words where it does not say. */
  readonly why: ExplainReply | string;
  /** What this host's own resolver says to its programs. undefined: it is about another host. */
  readonly asPrograms: HostAsked | undefined;
}

export async function lookup(text: string, { kubeconfig, type: wanted, node, agent }: LookupFlags): Promise<Lookup> {
  const { membership } = await readMembership(kubeconfig);
  const reverse = reverseName(text);
  const name = reverse ?? nameToExplain(text);
  if (name === undefined)
    throw new AppError("Usage", `"${text.slice(0, 300)}" is no name`, { hint: "labels have 1 to 63 characters, all of it at most 253" });
  const type = reverse === undefined ? wanted : "PTR";
  const local = parseListen(agent, PROBES_PORT);
  if (node !== undefined && node !== membership.node) return lookupElsewhere({ name, type, node, local });
  const server = membership.cluster.dnsIps[0] ?? HOST_LOCAL_ADDRESS;
  const asked = await askServer({ address: server, port: 53 }, name, type);
  const [why, asPrograms] = await Promise.all([
    explained(local, { name, type }, asked).catch(describeError),
    askHost(openKernelTools(), { name, type, address: reverse === undefined ? undefined : text }),
  ]);
  return { name, type, node: membership.node, server, asked, why, asPrograms };
}

/** An address is of whom its name is of, where that is one of ours. */
async function explained(agent: Place, question: { readonly name: string; readonly type: AskedType }, asked: Asked): Promise<ExplainReply> {
  const pointer = asked.ok ? asked.answer.records.find(({ type }) => type === "PTR") : undefined;
  const name = pointer && nameToExplain(pointer.data);
  const owner = name === undefined ? undefined : await askAgent(agent, { name, type: question.type });
  return owner?.explanation.zone === undefined ? askAgent(agent, question) : owner;
}

interface Elsewhere {
  readonly name: string;
  readonly type: AskedType;
  readonly node: string;
  readonly local: Place;
}

/** Its agent is asked where it lets others ask: nothing else of a host answers for what that host knows. */
async function lookupElsewhere({ name, type, node, local }: Elsewhere): Promise<Lookup> {
  const { nodeAddresses = [] } = await askAgent(local, { name, type, node });
  const [address] = nodeAddresses;
  if (address === undefined) throw new AppError("NotFound", `this host knows no node ${node}`, { hint: "`fairlead get nodes` lists them" });
  const [why, asked] = await Promise.all([
    askAgent({ address, port: local.port }, { name, type }).catch(
      (error: unknown) =>
        `${describeError(error)}: its agent lets only its own host ask (start it with --healthz-listen ${address}:${local.port}, or ask there: ssh ${node} sudo fairlead dns lookup ${name})`,
    ),
    askServer({ address, port: 53 }, name, type),
  ]);
  return { name, type, node, server: asked.ok ? address : undefined, asked: asked.ok ? asked : undefined, why, asPrograms: undefined };
}

/** 0: there is an answer with records; 3: there is none of that name or type; 7: nobody answered. */
export function exitCodeOf({ asked, why }: Lookup): number {
  if (asked?.ok === true) return asked.answer.rcode === "NOERROR" && asked.answer.records.length > 0 ? 0 : 3;
  if (asked === undefined && typeof why !== "string") return why.explanation.records.length > 0 ? 0 : 3;
  return 7;
}

/** For people. Pure. */
export function renderLookup(found: Lookup, { trace }: { readonly trace: boolean }): string {
  const { name, type, node, server, asked, why, asPrograms } = found;
  return [
    `${name} ${type}, on ${node}`,
    ...(server === undefined || asked === undefined ? [] : answerLines(server, asked)),
    ...whyLines(why, trace),
    ...(asPrograms
      ? ["", `programs of this host (${asPrograms.by}): ${asPrograms.answers.join(", ") || (asPrograms.why ?? "nothing")}`]
      : []),
    "",
  ].join("\n");
}

function answerLines(server: string, asked: Asked): string[] {
  if (!asked.ok) return [`${server} does not answer: ${asked.why}`];
  const { rcode, authoritative, truncated, records } = asked.answer;
  const more = [rcode, ...(authoritative ? ["authoritative"] : []), ...(truncated ? ["cut: more over TCP"] : []), `${asked.ms} ms`].join(
    ", ",
  );
  return [`${server} says: ${more}`, ...records.map(({ name, ttl, type, data }) => `  ${name} ${ttl} ${type} ${data}`)];
}

function whyLines(why: ExplainReply | string, trace: boolean): string[] {
  if (typeof why === "string") return ["", `why: ${why}`];
  const { explanation, stateAgeMs, upstreams } = why;
  const { zone, revision, objects, records, note, asked } = explanation;
  const age =
    stateAgeMs === 0 ? "and follows the server" : `as it was ${Math.round(stateAgeMs / 1000)} s ago: the server is not heard since`;
  if (zone === undefined) {
    const { name } = explanation;
    return ["", `why: not a name of the fleet, ${askedText(asked ?? { name, servers: upstreams, isKeptInside: false })}`];
  }
  return [
    "",
    `why: a name of ${zone}; this host knows revision ${revision}, ${age}`,
    ...objects.map(
      ({ kind, name: object, exists, revision: at, endpoints }) =>
        `  ${kind} ${object}${exists ? "" : ": not there"}${at === undefined ? "" : `, revision ${at}`}${endpoints === undefined ? "" : `, ${endpoints} endpoints`}`,
    ),
    ...(note === undefined ? [] : [`  ${note}`]),
    ...(asked ? [`  it leads to ${asked.name}, which is no name of the fleet, ${askedText(asked)}`] : []),
    ...(trace
      ? [
          `records that follow from them, of ${explanation.name}:`,
          ...(records.length === 0 ? ["  none"] : records.map((record) => `  ${record}`)),
        ]
      : []),
  ];
}

function askedText({ servers, stub, isKeptInside }: WhoIsAsked): string {
  if (isKeptInside)
    return "and of a kind that is asked of nobody outside (one label, *.local, private addresses) unless --dns-stub says of whom";
  if (servers.length === 0) return "asked of nobody: no upstream is known";
  const who = stub === undefined ? servers.join(", ") : `${servers.join(", ")}, as the stub domain ${stub} says`;
  return `asked of ${who} (or answered from the cache of what they said)`;
}

export function parseType(text: string): AskedType {
  const type = ASKED_TYPES.find((one) => one === text.toUpperCase());
  if (!type) throw new AppError("Usage", `there is no type ${text} here`, { hint: `one of ${ASKED_TYPES.join(", ")}` });
  return type;
}
