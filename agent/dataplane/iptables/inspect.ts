import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { KernelTools } from "../exec.ts";
import { firstFound, scheduled, type Check } from "../schedule.ts";
import { list, listHooks, type Target } from "./apply.ts";
import { chainDrift, hookDrift, HOOKS, type Listing } from "./listing.ts";
import type { ChainSum, TableName } from "./render.ts";
import { DOCKER_USER } from "./render-host.ts";
import type { TablePlan } from "./table-plan.ts";

/**
 * Is what we wrote still there? Asked often, so the first look costs no process: each jump, and each table's last write, names a list of
 * xt_recent, and the kernel shows the list as a file for as long as a rule names it. A flush, a deleted jump and a restored old file all take one
 * away. What this cannot see (the order of the hooks, a rule in the chain of a few services) is looked up with iptables itself, as seldom as it is
 * expensive.
 */
export interface Inspector {
  /** The look that costs nothing. */
  glance(plans: Plans): readonly string[];
  inspect(plans: Plans, signal: AbortSignal): Promise<readonly string[]>;
}

/** The tables that something of ours is in. */
export type Plans = readonly TablePlan[];

export interface InspectorDeps extends Target {
  readonly tools: KernelTools;
  readonly procNet: string;
  /** How often everything is looked at, where that costs nothing. */
  readonly everythingEveryMs?: number;
}

export function openInspector(deps: InspectorDeps): Inspector {
  const checks = checksOf(deps).map((check) => scheduled(check));
  const glance = (plans: Plans): readonly string[] => {
    const lists = listsIn(deps.procNet);
    return plans.flatMap((plan) => missingCanaries(plan, lists));
  };
  return {
    glance,
    async inspect(plans, signal) {
      const missing = glance(plans);
      if (missing.length > 0) return missing;
      return firstFound(checks, plans, signal);
    },
  };
}

/** All at once: several times a second, that costs less than to ask for each. */
function listsIn(procNet: string): ReadonlySet<string> {
  try {
    return new Set(readdirSync(join(procNet, "xt_recent")));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return new Set(); // no rule names a list
    throw error;
  }
}

function missingCanaries({ table, jumps, canary, guards }: TablePlan, lists: ReadonlySet<string>): string[] {
  const isThere = (name: string): boolean => lists.has(name);
  const gone = jumps.filter((jump) => jump.canary !== undefined && !isThere(jump.canary));
  return [
    ...new Set(gone.map(({ hook }) => `${table} ${hook}: our jump`)),
    ...(isThere(canary) ? [] : [`${table}: our chains, or their last change`]),
    ...guards.filter(({ list: name }) => !isThere(name)).map(({ chain }) => `${table} ${chain}: its rules`),
  ];
}

/**
 * A rule that iptables prints otherwise than we write it would be repaired for ever. Where a chain reads the same again after it was written anew
 * twice, that is how this host prints it.
 */
function rememberPrint() {
  const seen = new Map<string, { readonly wanted: number; readonly found: number; readonly times: number }>();
  return {
    asHere(table: TableName, { chains }: Listing, sums: ReadonlyMap<string, ChainSum>): ReadonlyMap<string, ChainSum> {
      const wanted = new Map(sums);
      for (const [chain, { rules, sum }] of sums) {
        const found = chains.get(chain);
        const place = `${table} ${chain}`;
        if (found === undefined || found.rules !== rules || found.sum === sum) {
          seen.delete(place);
          continue;
        }
        const before = seen.get(place);
        const times = before?.wanted === sum && before.found === found.sum ? before.times + 1 : 1;
        seen.set(place, { wanted: sum, found: found.sum, times });
        if (times > 2) wanted.set(chain, found);
      }
      return wanted;
    },
  };
}

function checksOf({ tools, kind, words, everythingEveryMs = 5_000 }: InspectorDeps): readonly Check<Plans>[] {
  const printed = rememberPrint();
  const everything: Check<Plans> = {
    minIntervalMs: everythingEveryMs,
    async run(plans, signal) {
      const found: string[] = [];
      for (const { table, wantedJumps: wanted, sums } of plans) {
        const listing = await list(tools, { kind, words }, table, signal);
        const chains = chainDrift({ table, listing, wanted: printed.asHere(table, listing, sums) });
        found.push(...hookDrift(words, { table, listing, wanted }), ...chains);
      }
      return found;
    },
  };
  const hooks: Check<Plans> = {
    minIntervalMs: 2_000,
    async run(plans, signal) {
      const found: string[] = [];
      for (const { table, wantedJumps: wanted } of plans) {
        const names = [...HOOKS[table], ...(table === "filter" ? [DOCKER_USER] : [])];
        const listing = await listHooks(tools, { kind, words, table, hooks: names }, signal);
        found.push(...hookDrift(words, { table, listing, wanted }));
      }
      return found;
    },
  };
  // The legacy tool reads the whole table to print one chain of it.
  return kind === "nft" ? [hooks, everything] : [everything];
}
