/** `nft -f` in memory: what a text makes of the tables. As strict as the kernel is: what is named must be there, what is in use cannot go. */

export interface NftRuleset {
  /** `ip fairlead` → the table. */
  readonly tables: ReadonlyMap<string, NftTable>;
}

export interface NftTable {
  readonly sets: ReadonlyMap<string, NftSet>;
  readonly chains: ReadonlyMap<string, NftChain>;
}

/** A set, or a map. */
export interface NftSet {
  readonly kind: "set" | "map";
  readonly declaration: string;
  /** key → value, "" in a set. */
  readonly elements: ReadonlyMap<string, string>;
}

export interface NftChain {
  readonly hook: string | undefined;
  readonly rules: readonly string[];
}

interface Chain {
  hook: string | undefined;
  rules: string[];
}
interface Elements {
  kind: "set" | "map";
  declaration: string;
  elements: Map<string, string>;
}
interface Table {
  sets: Map<string, Elements>;
  chains: Map<string, Chain>;
}
type Fail = (why: string) => never;

export function emptyNft(): NftRuleset {
  return { tables: new Map() };
}

/** The whole text is one transaction; one that the tool or the kernel would refuse throws, and names the line. */
export function applyNft(before: NftRuleset, text: string): NftRuleset {
  const tables = copy(before);
  for (const [i, line] of text.split("\n").entries()) {
    if (line === "") continue;
    applyLine(tables, line, (why) => {
      throw new Error(`line ${i + 1}: ${why}: ${line.slice(0, 300)}`);
    });
  }
  for (const table of tables.values()) checkReferences(table);
  return { tables };
}

function copy({ tables }: NftRuleset): Map<string, Table> {
  return new Map(
    [...tables].map(([name, { sets, chains }]) => [
      name,
      {
        sets: new Map([...sets].map(([key, set]) => [key, { ...set, elements: new Map(set.elements) }])),
        chains: new Map([...chains].map(([key, chain]) => [key, { hook: chain.hook, rules: [...chain.rules] }])),
      },
    ]),
  );
}

function applyLine(tables: Map<string, Table>, line: string, fail: Fail): void {
  const [, verb = "", what = "", family = "", name = "", rest = ""] =
    /^(\w+) (\w+) (ip6?) (\w+) ?(.*)$/.exec(line) ?? fail("not understood");
  const word = `${family} ${name}`;
  if (what === "table") {
    if (verb === "add") tables.set(word, tables.get(word) ?? { sets: new Map(), chains: new Map() });
    else if (verb === "delete") {
      if (!tables.delete(word)) fail("no such table");
    } else fail("not understood");
    return;
  }
  const table = tables.get(word) ?? fail("no such table");
  const [object = "", ...more] = rest.split(" ");
  const body = more.join(" ");
  if (what === "chain") applyToChain(table, { verb, object, body, fail });
  else if (what === "rule" && verb === "add") addRule(table, { object, body, fail });
  else if (what === "set" || what === "map") applyToSet(table, { verb, what, object, body, fail });
  else if (what === "element") applyElements(table, { verb, object, body, fail });
  else fail("not understood");
}

interface Command {
  readonly verb: string;
  readonly object: string;
  readonly body: string;
  readonly fail: Fail;
}

function applyToChain(table: Table, { verb, object, body, fail }: Command): void {
  if (!/^[a-z][a-z0-9_]{0,126}$/.test(object)) fail("not the name of a chain");
  const there = table.chains.get(object);
  if (verb === "add") {
    const hook = /^\{ (.*) \}$/.exec(body)?.[1];
    if (there && hook !== undefined && there.hook !== hook) fail("the chain is there and hangs elsewhere");
    if (!there) table.chains.set(object, { hook, rules: [] });
    return;
  }
  const chain = there ?? fail("no such chain");
  if (verb === "flush") chain.rules = [];
  else if (verb === "delete") {
    if (chain.rules.length > 0) fail("chain is not empty");
    table.chains.delete(object);
  } else fail("not understood");
}

function addRule(table: Table, { object, body, fail }: Omit<Command, "verb">): void {
  const chain = table.chains.get(object) ?? fail("no such chain");
  for (const [, target = ""] of body.matchAll(/\b(?:jump|goto) (\w+)/g)) if (!table.chains.has(target)) fail(`no chain ${target}`);
  for (const [, set = ""] of body.matchAll(/@(\w+)/g)) if (!table.sets.has(set)) fail(`no set ${set}`);
  chain.rules.push(body);
}

function applyToSet(table: Table, { verb, what, object, body, fail }: Command & { readonly what: "set" | "map" }): void {
  const there = table.sets.get(object);
  if (verb === "add") {
    const declaration = /^\{ (.*;) \}$/.exec(body)?.[1] ?? fail("no declaration");
    if (there && (there.declaration !== declaration || there.kind !== what)) fail("is there, and is something else");
    if (!there) table.sets.set(object, { kind: what, declaration, elements: new Map() });
    return;
  }
  const set = there ?? fail(`no such ${what}`);
  if (set.kind !== what) fail(`is no ${what}`);
  if (verb === "flush") set.elements.clear();
  else if (verb === "delete") {
    if ([...table.chains.values()].some(({ rules }) => rules.some((rule) => new RegExp(`@${object}\\b`).test(rule)))) fail("is in use");
    table.sets.delete(object);
  } else fail("not understood");
}

function applyElements(table: Table, { verb, object, body, fail }: Command): void {
  const set = table.sets.get(object) ?? fail("no such set");
  const list = /^\{ (.*) \}$/.exec(body)?.[1] ?? fail("no elements");
  for (const text of list.split(", ")) {
    const [, key = "", value = ""] = /^(.+?)(?: comment "[^"]*")?(?: : (.+))?$/.exec(text) ?? fail("not an element");
    if (key.split(" . ").length !== arityOf(set.declaration)) fail(`${key} does not fit ${set.declaration}`);
    if (verb === "add") addElement(set, { key, value, table, fail });
    else if (verb === "delete") {
      if (!set.elements.delete(key)) fail(`no element ${key}`);
    } else fail("not understood");
  }
}

function addElement(set: Elements, { key, value, table, fail }: { key: string; value: string; table: Table; fail: Fail }): void {
  if ((value === "") !== (set.kind === "set")) fail(`${key}: a value belongs to a map`);
  const there = set.elements.get(key);
  if (there !== undefined && there !== value) fail(`${key} is there with ${there}`);
  const target = /^(?:goto|jump) (\w+)$/.exec(value)?.[1];
  if (target !== undefined && !table.chains.has(target)) fail(`${key} leads to no chain`);
  set.elements.set(key, value);
}

function arityOf(declaration: string): number {
  const key = /^type(?:of)? (.*?)(?: :|;)/.exec(declaration)?.[1] ?? "";
  return key.split(" . ").length;
}

/** What is gone may not be named any more. */
function checkReferences({ sets, chains }: Table): void {
  const isThere = (verdict: string, by: string): void => {
    const target = /^(?:goto|jump) (\w+)$/.exec(verdict)?.[1];
    if (target !== undefined && !chains.has(target)) throw new Error(`${by} leads to the chain ${target}, which is gone`);
  };
  for (const [name, { elements }] of sets) for (const [key, value] of elements) isThere(value, `${name} ${key}`);
  for (const [name, { rules }] of chains)
    for (const rule of rules) for (const [verdict] of rule.matchAll(/\b(?:goto|jump) \w+/g)) isThere(verdict, name);
}
