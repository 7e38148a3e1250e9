import type { HttpAnswer } from "#agent/listeners/http.ts";
import { serverText } from "#agent/dns/server-address.ts";
import type { StubDomain } from "#agent/dns/stub-domains.ts";
import type { Upstream } from "#agent/dns/upstream-udp.ts";
import type { ClusterState } from "#agent/sync/state.ts";
import { internalIpsOf } from "#proto/node.ts";
import { explainName } from "./explain.ts";
import type { NodeAddresses } from "./node-addresses.ts";
import { nameToExplain, type ExplainReply } from "./explanation.ts";
import { typeNumber, whoIsAsked } from "./who-is-asked.ts";

export interface ExplainDeps {
  readonly node: string;
  readonly state: ClusterState;
  readonly nodeAddresses: Pick<NodeAddresses, "has">;
  readonly stateAgeMs: () => number;
  readonly upstreams: () => Promise<readonly Upstream[]>;
  readonly stubs: readonly StubDomain[];
}

export const EXPLAIN_PATH = "/dns/explain";

/** Only reads, and only for this host and the fleet's others: what a fleet runs is nobody else's business. */
export async function answerExplain(deps: ExplainDeps, query: URLSearchParams, from: string): Promise<HttpAnswer> {
  const { state, node, stubs } = deps;
  if (!mayAsk(deps.nodeAddresses, from)) return text(403, "only this host and the other nodes of the fleet may ask\n");
  const name = nameToExplain(query.get("name") ?? "");
  if (name === undefined) return text(400, "name: labels of 1 to 63 characters, at most 253 in all\n");
  const other = query.get("node");
  const upstreams = await deps.upstreams();
  const reply: ExplainReply = {
    node,
    explanation: explainName(state, name, whoIsAsked({ upstreams, stubs }, typeNumber(query.get("type") ?? ""))),
    stateAgeMs: Math.round(deps.stateAgeMs()),
    upstreams: upstreams.map(serverText),
    stubs: stubs.map(({ suffix, servers }) => ({ suffix, servers: servers.map(serverText) })),
    ...(other !== null && { nodeAddresses: addressesOf(state, other) }),
  };
  return { status: 200, type: "application/json", body: `${JSON.stringify(reply)}\n` };
}

function mayAsk(nodeAddresses: ExplainDeps["nodeAddresses"], from: string): boolean {
  const address = from.replace(/^::ffff:/, "");
  if (address.startsWith("127.") || address === "::1") return true;
  return nodeAddresses.has(address);
}

function addressesOf(state: ClusterState, name: string): string[] {
  const node = state.nodes.get(name);
  return node ? [...internalIpsOf(node)] : [];
}

function text(status: number, body: string): HttpAnswer {
  return { status, type: "text/plain; charset=utf-8", body };
}
