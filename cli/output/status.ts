import type { FleetStatus } from "#proto/agents.ts";
import { age, humanDuration } from "#proto/age.ts";
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

/** The fleet at a glance. Pure; `now` in ms. */
export function renderStatus(status: FleetStatus, server: string, now: number): string {
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
      ? "All is well.\n"
      : section(
          "Something is wrong",
          ["WHAT"],
          problems.map((text) => [text]),
        );
  return head + table + verdict;
}
