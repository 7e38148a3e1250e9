import { compileDnsDomain, domainsOf, type DnsRecord } from "#agent/compile/dns-records.ts";
import { compileDns, compileDnsNode } from "#agent/compile/dns-view.ts";
import type { ClusterState } from "#agent/sync/state.ts";
import { reverseZonesOf } from "#agent/dns/reverse-zones.ts";
import type { Explanation, ExplainedObject, WhoIsAsked } from "./explanation.ts";

/** Why a name is what it is on this host: from which objects it follows, as this host knows them. Pure. */

/** Of a Service with more endpoints, objects are named and records are not worked out: it would hold up the loop that must follow the server. */
const MAX_ENDPOINTS = 2_000;
const MAX_RECORDS = 100;
const MAX_ALIASES = 8;
const REVERSE_NOTE = "a reverse zone of the fleet's virtual IPs: nobody else is asked, and an address that no Service has, has no name";

export function explainName(state: ClusterState, name: string, askedFor: AskedFor): Explanation {
  const { cluster, revision } = state;
  const zone = longestAbove(name, cluster ? domainsOf(cluster) : []);
  if (zone !== undefined) return explainOwn(state, { name, zone, revision }, askedFor);
  const reverse = longestAbove(name, cluster ? cluster.serviceCidrs.flatMap(reverseZonesOf) : []);
  if (reverse !== undefined) return { name, zone: reverse, revision, objects: [], records: [], note: REVERSE_NOTE };
  return { name, zone: undefined, revision, objects: [], records: [], note: "not a name of the fleet", asked: askedFor(name) };
}

type AskedFor = (name: string) => WhoIsAsked;
type Common = Pick<Explanation, "name" | "revision"> & { readonly zone: string };

function explainOwn(state: ClusterState, common: Common, askedFor: AskedFor): Explanation {
  const labels = labelsBelow(common.name, common.zone) ?? [];
  const [namespace, service] = labels.at(-1) === "svc" ? [labels.at(-2), labels.at(-3)] : [undefined, undefined];
  if (labels.at(-1) === "node" && labels.length > 1) return explainNode(state, common, labels.slice(0, -1).join("."));
  if (namespace === undefined) return explainDomain(state, common);
  const known = state.namespaces.get(namespace);
  const space: ExplainedObject = { kind: "Namespace", name: namespace, exists: known !== undefined, revision: revisionOf(known) };
  if (service === undefined)
    return {
      ...common,
      objects: [space],
      records: [],
      note: known ? "a namespace has no records of its own" : "there is no such namespace",
    };
  const found = explainService(state, common, { namespace, service, space });
  return { ...found, asked: askedBehind(state, found, askedFor) };
}

/** Who knows the rest of an ExternalName; undefined where we do, or where there is none. */
function askedBehind(state: ClusterState, { records }: Explanation, askedFor: AskedFor): WhoIsAsked | undefined {
  const domains = state.cluster ? domainsOf(state.cluster) : [];
  let target = aliasIn(records);
  for (let hops = 1; target !== undefined && hops <= MAX_ALIASES; hops++) {
    const zone = longestAbove(target, domains);
    if (zone === undefined) return askedFor(target);
    const labels = labelsBelow(target, zone) ?? [];
    const [service, namespace, kind] = labels;
    if (labels.length !== 3 || kind !== "svc") return undefined;
    target = state.services.get(`${namespace ?? ""}/${service ?? ""}`)?.spec.externalName?.replace(/\.$/, "");
  }
  return undefined;
}

function aliasIn(records: readonly string[]): string | undefined {
  return records.find((record) => record.startsWith("CNAME "))?.slice("CNAME ".length);
}

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

/** Which of these domains holds the name; the longest, where several do. */
function longestAbove(name: string, domains: readonly string[]): string | undefined {
  return domains.filter((domain) => labelsBelow(name, domain) !== undefined).toSorted((a, b) => b.length - a.length)[0];
}

/** The labels before the domain; undefined where it is another's name. */
function labelsBelow(name: string, domain: string): readonly string[] | undefined {
  if (name === domain) return [];
  return name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1).split(".") : undefined;
}

function revisionOf(object: { readonly metadata: { readonly resourceVersion?: string | undefined } } | undefined): number | undefined {
  return object?.metadata.resourceVersion === undefined ? undefined : Number(object.metadata.resourceVersion);
}
