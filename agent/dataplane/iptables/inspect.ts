import { existsSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import type { KernelTools } from "../exec.ts";
import { list, listHooks, type IptablesKind } from "./apply.ts";
import { chainDrift, hookDrift, HOOKS } from "./listing.ts";
import { expectedChains, type Rules } from "./plan.ts";
import { GUARDED, guardOf } from "./render.ts";

/**
 * Is what we wrote still there? Asked often, so the first look costs no process: each jump, and each table's last write, names a list of
 * xt_recent, and the kernel shows the list as a file for as long as a rule names it. A flush, a deleted jump and a restored old file all take one
 * away. What this cannot see (the order of the hooks, the chain of a few services) is looked up with iptables itself, as seldom as it is expensive.
 */
export interface Inspector {
  /** The look that costs nothing. */
  glance(rules: Rules): readonly string[];
  inspect(rules: Rules, signal: AbortSignal): Promise<readonly string[]>;
}

interface Check {
  readonly minIntervalMs: number;
  run(rules: Rules, signal: AbortSignal): Promise<readonly string[]>;
}

const TABLES = ["nat", "filter"] as const;
/** Of one core, and at most, for each of the two slow checks. */
const SHARE_OF_A_CORE = 0.002;
/** Where another program keeps taking the first place in a hook, we do not fight it at full speed. */
const SLOWEST_INTERVAL_MS = 300_000;

export function openInspector(deps: { readonly tools: KernelTools; readonly kind: IptablesKind; readonly procNet: string }): Inspector {
  const { procNet } = deps;
  const scheduled = checksOf(deps).map((check) => scheduleOf(check));
  const glance = (rules: Rules): readonly string[] => missingCanaries(rules, procNet);
  return {
    glance,
    async inspect(rules, signal) {
      const missing = glance(rules);
      if (missing.length > 0) return missing;
      for (const run of scheduled) {
        const found = await run(rules, signal);
        if (found.length > 0) return found;
      }
      return [];
    },
  };
}

function missingCanaries(rules: Rules, procNet: string): string[] {
  const isThere = (name: string): boolean => existsSync(join(procNet, "xt_recent", name));
  const jumps = rules.jumps.filter(({ canary }) => canary !== undefined && !isThere(canary));
  const tables = TABLES.filter((table) => !isThere(rules.canaries[table]));
  return [
    ...jumps.map(({ table, hook }) => `${table} ${hook}: our jump`),
    ...tables.map((table) => `${table}: our chains, or their last change`),
    ...TABLES.flatMap((table) => GUARDED[table].filter((chain) => !isThere(guardOf(chain))).map((chain) => `${table} ${chain}: its rules`)),
  ];
}

function checksOf({ tools, kind }: { readonly tools: KernelTools; readonly kind: IptablesKind }): readonly Check[] {
  const everything: Check = {
    minIntervalMs: 5_000,
    async run(rules, signal) {
      const found: string[] = [];
      for (const table of TABLES) {
        const listing = await list(tools, kind, table, signal);
        found.push(...hookDrift(table, listing, rules.jumps), ...chainDrift(table, listing, expectedChains(rules, table)));
      }
      return found;
    },
  };
  const hooks: Check = {
    minIntervalMs: 2_000,
    async run(rules, signal) {
      const found: string[] = [];
      for (const table of TABLES) {
        const listing = await listHooks(tools, { kind, table, hooks: HOOKS[table] }, signal);
        found.push(...hookDrift(table, listing, rules.jumps));
      }
      return found;
    },
  };
  // The legacy tool reads the whole table to print one chain of it.
  return kind === "nft" ? [hooks, everything] : [everything];
}

/** Runs the check when it is due; the more it costs, the later the next. */
function scheduleOf(check: Check): Check["run"] {
  let dueAt = performance.now() + check.minIntervalMs;
  let patience = 1;
  return async (rules, signal) => {
    const startedAt = performance.now();
    if (startedAt < dueAt) return [];
    dueAt = startedAt + check.minIntervalMs; // also when it is called off
    const found = await check.run(rules, signal);
    const endedAt = performance.now();
    patience = found.length > 0 ? patience * 2 : 1;
    const pause = Math.max(check.minIntervalMs, (endedAt - startedAt) / SHARE_OF_A_CORE) * patience;
    dueAt = endedAt + Math.min(pause, SLOWEST_INTERVAL_MS);
    return found;
  };
}
