import { describeError } from "#proto/error.ts";
import type { KernelTools } from "../exec.ts";
import type { Target } from "./apply.ts";

/**
 * Has the kernel what our rules are made of? Tried for real, with one rule of each kind, in a network namespace that exists for the length of the
 * try: the kernel and its modules are the same, and no rule of this host is touched. (iptables-restore --test asks the tool and not the kernel.)
 */

interface Part {
  readonly what: string;
  readonly table: "nat" | "filter";
  readonly rule: (target: Target) => string;
}

const PARTS: readonly Part[] = [
  { what: "xt_comment", table: "filter", rule: () => "-m comment --comment fairlead -j RETURN" },
  { what: "xt_conntrack", table: "filter", rule: () => "-p tcp -m conntrack --ctstate DNAT --ctorigdstport 1:2 -j RETURN" },
  { what: "xt_recent", table: "nat", rule: ({ words }) => `-m recent ! --rcheck --name ${words.list}-probe --mask ${words.mask} --rsource -j RETURN` }, // prettier-ignore
  { what: "xt_statistic", table: "nat", rule: () => "-m statistic --mode random --probability 0.5 -j RETURN" },
  { what: "xt_addrtype", table: "nat", rule: () => "-m addrtype --src-type LOCAL -j RETURN" },
  { what: "REJECT", table: "filter", rule: ({ words }) => `-j REJECT --reject-with ${words.unreachable}` },
  { what: "DNAT", table: "nat", rule: ({ words }) => `-p tcp -j DNAT --to-destination ${words.family === "IPv4" ? "192.0.2.1" : "[2001:db8::1]"}:1` }, // prettier-ignore
  { what: "MASQUERADE", table: "nat", rule: () => "-j MASQUERADE" },
  { what: "REDIRECT", table: "nat", rule: ({ words }) => `${words.echoRequest} -j REDIRECT` },
];

/** What is missing, by name; undefined = it cannot be tried here (a container without the right to make namespaces). */
export async function missingParts(tools: KernelTools, target: Target, signal: AbortSignal): Promise<readonly string[] | undefined> {
  try {
    await tools.run("unshare", ["--net", "true"], { signal });
  } catch {
    return undefined;
  }
  if ((await attempt(tools, target, PARTS, signal)) === undefined) return [];
  const missing: string[] = [];
  for (const part of PARTS) {
    const why = await attempt(tools, target, [part], signal);
    if (why !== undefined) missing.push(part.what);
  }
  return missing;
}

/** Why not, or undefined when it worked. */
async function attempt(tools: KernelTools, target: Target, parts: readonly Part[], signal: AbortSignal): Promise<string | undefined> {
  const lines = (["nat", "filter"] as const).flatMap((table) => {
    const rules = parts.filter((part) => part.table === table).map(({ rule }) => `-A ${target.words.prefix}PROBE ${rule(target)}`);
    return [`*${table}`, `:${target.words.prefix}PROBE - [0:0]`, ...rules, "COMMIT"];
  });
  const program = `${target.words.program}-${target.kind}-restore`;
  try {
    await tools.run("unshare", ["--net", program, "--noflush", "-w", "5"], { signal, input: `${lines.join("\n")}\n` });
    return undefined;
  } catch (cause) {
    if (signal.aborted) throw cause;
    return describeError(cause);
  }
}
