import type { FleetStatus } from "#proto/agents.ts";
import { age, humanDuration } from "#proto/age.ts";
import { lastSeen } from "#proto/columns.ts";
import type { Event } from "#proto/event.ts";
import { fields, section } from "./describe-text.ts";

/** What is wrong in the fleet, a line each; empty when all is well. */
export function problemsOf({ nodes }: FleetStatus): string[] {
  const kept = nodes.filter((node) => node.kept === true).map(({ name }) => name);
  return [
    ...(kept.length === 0
      ? []
      : [
          `${kept.length === 1 ? "1 host" : `${kept.length} hosts`} silent, kept: mass-failure brake, see \`fairlead get events\` (${kept.join(", ")})`,
        ]),
    ...nodes.flatMap(({ name, ready, kept: isKept, lastHeardMs, problems }) => [
      ...(ready || isKept === true
        ? []
        : [
            `node ${name} is not ready: ${lastHeardMs === undefined ? "not heard since the server started" : `last heard ${humanDuration(lastHeardMs)} ago`}`,
          ]),
      ...problems.map((text) => `node ${name}: ${text}`),
    ]),
  ];
}

const MAX_WARNINGS = 5;

export interface Around {
  readonly server: string;
  /** In ms. */
  readonly now: number;
  /** Events of the last hour. */
  readonly warnings: readonly Event[];
}

/** The fleet at a glance. Pure. */
export function renderStatus(status: FleetStatus, { server, now, warnings }: Around): string {
  const { cluster, nodes } = status;
  const ready = nodes.filter((node) => node.ready).length;
  const head = fields([
    ["Server", `${server}, version ${status.version}, up ${age(status.startedAt, now)}`],
    ["Revision", String(status.revision)],
    ["Domain", `${cluster.domain}, DNS at ${cluster.dnsIps.join(", ")}`],
    ["Virtual IPs", cluster.serviceCidrs.join(", ")],
    ["Nodes", `${ready} of ${nodes.length} ready`],
    [
      "Objects",
      Object.entries(status.counts)
        .map(([kind, count]) => `${count} ${kind}`)
        .join(", "),
    ],
  ]);
  const table = section(
    "Hosts",
    ["NAME", "READY", "BEHIND", "LAST HEARD", "ADDRESSES", "PROBLEMS"],
    nodes.map((node) => [
      node.name,
      node.ready ? "yes" : node.kept === true ? "kept" : "no",
      node.behind === undefined ? "?" : String(node.behind),
      node.lastHeardMs === undefined ? "never" : node.lastHeardMs < 1000 ? `${node.lastHeardMs}ms` : humanDuration(node.lastHeardMs),
      node.addresses.join(","),
      node.problems.length === 0 ? "none" : String(node.problems.length), // their texts stand below, once
    ]),
  );
  const problems = problemsOf(status);
  const verdict =
    problems.length === 0
      ? isQuiet(status)
        ? "All is well.\n"
        : "All hosts are well.\n"
      : section(
          "Something is wrong",
          ["WHAT"],
          problems.map((text) => [text]),
        );
  return head + table + idleSection(status) + warningSection(warnings, now) + verdict;
}

function isQuiet({ idleServices }: FleetStatus): boolean {
  return (idleServices?.count ?? 0) === 0;
}

function idleSection({ idleServices }: FleetStatus): string {
  if (!idleServices || idleServices.count === 0) return "";
  const more = idleServices.count - idleServices.first.length;
  const rows = [...idleServices.first, ...(more > 0 ? [`… and ${more} more`] : [])];
  return section(
    "Services that lead to nobody who is ready (`fairlead describe service NAME` says why)",
    ["NAME"],
    rows.map((name) => [name]),
  );
}

/** The newest last, as in a log. */
function warningSection(warnings: readonly Event[], now: number): string {
  const newest = warnings.toSorted((a, b) => (lastSeen(a) ?? "").localeCompare(lastSeen(b) ?? "", "en")).slice(-MAX_WARNINGS);
  if (newest.length === 0) return "";
  return section(
    `Warnings of the last hour${warnings.length > newest.length ? `, the last ${newest.length} of ${warnings.length} (\`fairlead get events -A\`)` : ""}`,
    ["AGE", "ABOUT", "REASON", "MESSAGE"],
    newest.map((event) => [age(lastSeen(event), now), aboutOf(event), event.reason, event.message]),
  );
}

function aboutOf({ involvedObject: { kind = "", namespace, name = "" } }: Event): string {
  return `${kind.toLowerCase()}/${namespace === undefined ? "" : `${namespace}/`}${name}`;
}
