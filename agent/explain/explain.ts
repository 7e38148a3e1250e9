import { compileDnsDomain, domainsOf, type DnsRecord } from "#agent/compile/dns-records.ts";
import { compileDns, compileDnsNode } from "#agent/compile/dns-view.ts";
import type { ClusterState } from "#agent/sync/state.ts";
import type { Explanation, ExplainedObject } from "./explanation.ts";

/** Why a name is what it is on this host: from which objects it follows, as this host knows them. Pure. */

/** Of a Service with more endpoints, objects are named and records are not worked out: it would hold up the loop that must follow the server. */
const MAX_ENDPOINTS = 2_000;
const MAX_RECORDS = 100;

export function explainName(state: ClusterState, name: string): Explanation {
  const domain = (state.cluster ? domainsOf(state.cluster) : []).find((one) => labelsBelow(name, one) !== undefined);
  const { revision } = state;
  const labels = domain === undefined ? undefined : labelsBelow(name, domain);
  if (domain === undefined || labels === undefined)
    return { name, zone: undefined, revision, objects: [], records: [], note: "not a name of the fleet" };
  const common = { name, zone: domain, revision };
  const [namespace, service] = labels.at(-1) === "svc" ? [labels.at(-2), labels.at(-3)] : [undefined, undefined];
  if (labels.at(-1) === "node" && labels.length > 1) return explainNode(state, common, labels.slice(0, -1).join("."));
  if (namespace === undefined) return explainDomain(state, common);
  const found = state.namespaces.get(namespace);
  const space: ExplainedObject = { kind: "Namespace", name: namespace, exists: found !== undefined, revision: revisionOf(found) };
  if (service === undefined)
    return {
      ...common,
      objects: [space],
      records: [],
      note: found ? "a namespace has no records of its own" : "there is no such namespace",
    };
  return explainService(state, common, { namespace, service, space });
}

type Common = Pick<Explanation, "name" | "zone" | "revision">;

function explainService(
  state: ClusterState,
  common: Common,
  { namespace, service, space }: { readonly namespace: string; readonly service: string; readonly space: ExplainedObject },
): Explanation {
  const key = `${namespace}/${service}`;
  const found = state.services.get(key);
  const object: ExplainedObject = { kind: "Service", name: key, exists: found !== undefined, revision: revisionOf(found) };
  if (!found) return { ...common, objects: [...(space.exists ? [] : [space]), object], records: [], note: `there is no Service ${key}` };
  const slices = [...(state.slicesByService.get(key) ?? [])];
  const objects = [
    object,
    ...slices.map(([name, slice]): ExplainedObject => ({
      kind: "EndpointSlice",
      name,
      exists: true,
      revision: revisionOf(slice),
      endpoints: slice.endpoints.length,
    })),
  ];
  const count = slices.reduce((sum, [, { endpoints }]) => sum + endpoints.length, 0);
  if (count > MAX_ENDPOINTS) return { ...common, objects, records: [], note: `it has ${count} endpoints: records are not listed` };
  return { ...common, objects, ...recordsAt(common.name, compileDns(state, key).records) };
}

function explainDomain(state: ClusterState, common: Common): Explanation {
  const { cluster } = state;
  const object: ExplainedObject = { kind: "fleet", name: cluster?.domain ?? "", exists: true, revision: undefined };
  return { ...common, objects: [object], ...recordsAt(common.name, cluster ? compileDnsDomain(cluster).records : []) };
}

function explainNode(state: ClusterState, common: Common, name: string): Explanation {
  const node = state.nodes.get(name);
  const object: ExplainedObject = { kind: "Node", name, exists: node !== undefined, revision: revisionOf(node) };
  if (!node) return { ...common, objects: [object], records: [], note: `there is no Node ${name}` };
  return { ...common, objects: [object], ...recordsAt(common.name, compileDnsNode(state, name).records) };
}

function recordsAt(name: string, all: readonly DnsRecord[]): Pick<Explanation, "records" | "note"> {
  const records = all.filter((record) => record.name === name);
  const texts = records.slice(0, MAX_RECORDS).map(textOf);
  if (records.length > MAX_RECORDS) return { records: texts, note: `${records.length - MAX_RECORDS} more records` };
  const below = all.some((record) => record.name.endsWith(`.${name}`));
  return { records: texts, note: records.length > 0 || below ? undefined : "these objects make no record of this name" };
}

function textOf(record: DnsRecord): string {
  switch (record.type) {
    case "A":
    case "AAAA":
      return `${record.type} ${record.address}`;
    case "SRV":
      return `SRV 0 ${record.weight} ${record.port} ${record.target}`;
    case "TXT":
      return `TXT ${JSON.stringify(record.text)}`;
    case "CNAME":
    case "NS":
    case "PTR":
      return `${record.type} ${record.target}`;
  }
}

/** The labels before the domain; undefined where it is another's name. */
function labelsBelow(name: string, domain: string): readonly string[] | undefined {
  if (name === domain) return [];
  return name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1).split(".") : undefined;
}

function revisionOf(object: { readonly metadata: { readonly resourceVersion?: string | undefined } } | undefined): number | undefined {
  return object?.metadata.resourceVersion === undefined ? undefined : Number(object.metadata.resourceVersion);
}
