import { existsSync } from "node:fs";
import { join } from "node:path";
import type { IpFamily } from "#proto/ip.ts";
import type { IptablesKind } from "../iptables/apply.ts";
import { firstFound, scheduled, type Check } from "../schedule.ts";
import type { DeviceEdge } from "./device.ts";
import type { Edge } from "./edge.ts";
import { parseActivity } from "./listing.ts";
import { DEVICE, SET_NAMES, setWord } from "./names.ts";
import { hasDevice, headOf, localPrefixes } from "./proc.ts";
import { TABLES } from "./render.ts";
import { canariesOf, ruleDrift } from "./rules-text.ts";
import { definitionOf, type ServerKey } from "./servers.ts";
import type { IpvsState } from "./state.ts";
import type { Written } from "./writer.ts";

/**
 * Is what we wrote still there? Asked often, so the first look costs no process: rules name lists of xt_recent, which are files as long as they do; the
 * device is in a file of the kernel, and so are the virtual servers, of which the first are read. What these cannot see is looked up with the tools,
 * as seldom as it is expensive.
 */
export interface Inspector {
  inspect(held: Written, signal: AbortSignal): Promise<readonly string[]>;
}

/** Of the virtual servers; enough to see that all are gone, whoever came after. */
const HEAD_BYTES = 16 * 1024;

export interface InspectorDeps {
  readonly edge: Edge;
  readonly device: DeviceEdge;
  readonly family: IpFamily;
  readonly kind: IptablesKind;
  readonly procNet: string;
}

export function openInspector(deps: InspectorDeps): Inspector {
  const checks = checksOf(deps).map((check) => scheduled(check));
  return {
    async inspect(held, signal) {
      const missing = await glance(deps, held);
      if (missing.length > 0) return missing;
      return firstFound(checks, held, signal);
    },
  };
}

async function glance({ procNet, family }: InspectorDeps, { rules, writes, state }: Written): Promise<readonly string[]> {
  const missing = [...canariesOf(rules, writes)].filter(([list]) => !existsSync(join(procNet, "xt_recent", list))).map(([, what]) => what);
  if (!(await hasDevice(procNet))) missing.push(`the device ${DEVICE}`);
  if (state.servers.size > 0) missing.push(...(await serversGone(join(procNet, "ip_vs"), family, state)));
  return missing;
}

/** The kernel has them in no order of ours: one of ours among the first ones is enough, and when all are seen, as many as there should be. */
async function serversGone(file: string, family: IpFamily, { servers }: IpvsState): Promise<string[]> {
  const { text, isAll } = await headOf(file, HEAD_BYTES);
  const seen = [...parseActivity(text, family).keys()].filter((key) => servers.has(key)).length;
  if (isAll ? seen === servers.size : seen > 0) return [];
  return [isAll ? `${servers.size - seen} of ${servers.size} virtual servers` : "the virtual servers"];
}

function checksOf({ edge, device, family, kind, procNet }: InspectorDeps): readonly Check<Written>[] {
  return [
    {
      minIntervalMs: 250,
      shareOfACore: 0.005, // without its route a virtual IP is nobody's; a file of the kernel says it
      async run({ state }) {
        const local = await localPrefixes(procNet, family);
        const lost = local ? [...state.entriesOf("VIPS").keys()].filter((prefix) => !local.has(prefix)) : [];
        return lost.length > 0 ? [routesGone(lost)] : [];
      },
    },
    {
      minIntervalMs: 500,
      shareOfACore: 0.01, // emptied sets stop everything, and nothing else shows it
      async run({ state }, signal) {
        const sizes = await edge.listSetSizes(signal);
        return SET_NAMES.filter((set) => sizes.get(set) !== state.entriesOf(set).size).map(
          (set) => `the set ${setWord(family, set)}: ${sizes.get(set) ?? "none"} of ${state.entriesOf(set).size} entries`,
        );
      },
    },
    {
      minIntervalMs: 2_000,
      async run({ state, rules, hasExternal }, signal) {
        const missing: string[] = [];
        const listing = await edge.listRules(kind, signal);
        for (const table of TABLES) missing.push(...ruleDrift(table, rules, listing[table]));
        const { addresses, externalRules } = await device.look(signal);
        const lost = [...state.entriesOf("VIPS").keys()].filter((prefix) => !addresses.has(prefix));
        if (lost.length > 0) missing.push(routesGone(lost));
        if (hasExternal && externalRules !== "all") missing.push("the routing rule for external IPs");
        return missing;
      },
    },
    { minIntervalMs: 5_000, run: async ({ state }, signal) => serverDrift(state, await edge.listServers(signal)) },
  ];
}

function routesGone(lost: readonly string[]): string {
  return `${lost.length} addresses of ${DEVICE}`;
}

function serverDrift({ servers }: IpvsState, found: Awaited<ReturnType<Edge["listServers"]>>): string[] {
  const missing: string[] = [];
  const nameOf = (key: ServerKey): string => (typeof key === "number" ? `FWM ${key}` : key);
  for (const [key, { reals, ...server }] of servers) {
    const there = found.get(key);
    const same =
      there !== undefined &&
      definitionOf(there) === definitionOf(server) &&
      there.reals.size === reals.size &&
      [...reals].every(([real, weight]) => there.reals.get(real) === weight);
    if (!same) missing.push(`the virtual server ${nameOf(key)}`);
  }
  return missing.length > 12 ? [...missing.slice(0, 12), `and ${missing.length - 12} more`] : missing;
}
