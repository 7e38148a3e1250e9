/** iptables-restore --noflush in memory: what a text makes of a rule set. As strict as the tools are: a target must exist, a chain must be empty to go. */

export interface Ruleset {
  /** table → chain → rules, as written after `-A CHAIN `. */
  readonly tables: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>;
}

const BUILTIN: Readonly<Record<string, readonly string[]>> = {
  nat: ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
  filter: ["INPUT", "FORWARD", "OUTPUT"],
};
const TARGETS = new Set(["ACCEPT", "DROP", "RETURN", "REJECT", "DNAT", "MASQUERADE", "REDIRECT"]);

export function emptyRuleset(): Ruleset {
  return { tables: new Map(Object.entries(BUILTIN).map(([table, chains]) => [table, new Map(chains.map((chain) => [chain, []]))])) };
}

/** Each COMMIT is one transaction; a text that the tools would refuse throws, and names the line. */
export function applyRestore(before: Ruleset, text: string): Ruleset {
  const tables = new Map(before.tables);
  let name: string | undefined;
  let table = new Map<string, string[]>();
  for (const [i, line] of text.split("\n").entries()) {
    if (line === "") continue;
    const fail = (why: string): never => {
      throw new Error(`line ${i + 1} failed: ${why}: ${line}`);
    };
    if (line.startsWith("*")) {
      name = line.slice(1);
      table = new Map([...(tables.get(name) ?? fail("no such table"))].map(([chain, rules]) => [chain, [...rules]]));
    } else if (name === undefined) fail("outside of a table");
    else if (line === "COMMIT") {
      tables.set(name, table);
      name = undefined;
    } else applyLine(table, { line, builtin: BUILTIN[name] ?? [], fail });
  }
  if (name !== undefined) throw new Error("the text ends without COMMIT");
  return { tables };
}

interface Line {
  readonly line: string;
  readonly builtin: readonly string[];
  readonly fail: (why: string) => never;
}

function applyLine(table: Map<string, string[]>, { line, builtin, fail }: Line): void {
  const declared = /^:(\S+) - \[0:0\]$/.exec(line)?.[1];
  if (declared !== undefined) {
    if (builtin.includes(declared)) fail("would flush a chain that is not ours");
    if (declared.length > 28) fail("chain name too long");
    table.set(declared, []);
    return;
  }
  const [, verb, chain = "", rest = ""] = /^-([AIDX]) (\S+) ?(.*)$/.exec(line) ?? fail("not understood");
  const rules = table.get(chain) ?? fail("no such chain");
  if (verb === "X") {
    if (rules.length > 0) fail("chain is not empty");
    if ([...table.values()].some((others) => others.some((rule) => targetOf(rule) === chain))) fail("chain is in use");
    table.delete(chain);
    return;
  }
  const target = targetOf(rest);
  if (target !== undefined && !TARGETS.has(target) && !table.has(target)) fail("no such target");
  if (verb === "A") rules.push(rest);
  else if (verb === "I") {
    const [, position = "", rule = ""] = /^(\d+) (.*)$/.exec(rest) ?? fail("no position");
    if (Number(position) > rules.length + 1) fail("position is beyond the end");
    rules.splice(Number(position) - 1, 0, rule);
  } else {
    const at = rules.indexOf(rest);
    if (at < 0) fail("no such rule");
    rules.splice(at, 1);
  }
}

export function targetOf(rule: string): string | undefined {
  return /(?:^| )-[jg] (\S+)/.exec(rule)?.[1];
}

/** As iptables-save would print it, sorted by chain; without the canaries, which name the write and not the state. */
export function saveOf({ tables }: Ruleset): string {
  const lines: string[] = [];
  for (const [table, chains] of tables) {
    lines.push(`*${table}`);
    for (const [chain, rules] of [...chains].toSorted(([a], [b]) => (a < b ? -1 : 1)))
      if (chain !== "FL-CANARY") lines.push(`:${chain}`, ...rules.map((rule) => `-A ${chain} ${rule}`));
  }
  return lines.join("\n");
}
