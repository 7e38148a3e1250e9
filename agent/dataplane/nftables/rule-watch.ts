import type { FollowTools, Followed } from "../exec.ts";

/**
 * What others do to our table, told by one `nft monitor` that runs all the time: a look costs nothing and sees every rule and element. The kernel
 * tells of each transaction as a whole, so ours are known by what each of them writes into the set `writes`.
 */
export interface RuleWatch {
  /** Has been heard to tell of a transaction of ours, and runs since then. */
  readonly isListening: boolean;
  /** Before a transaction that puts this into the set `writes`. */
  expect(mark: string): void;
  /** What others changed of ours since the start, in words; at most a few. Not taken away by being read. */
  changes(): readonly string[];
  close(): void;
}

export interface RuleWatchDeps {
  readonly tools: FollowTools;
  /** `ip fairlead` */
  readonly table: string;
  readonly onEnd: (why: string) => void;
}

const MAX_TOLD = 5;

export function openRuleWatch({ tools, table, onEnd }: RuleWatchDeps): RuleWatch {
  const expected = new Set<string>();
  const told: string[] = [];
  let isListening = false;
  let isOurs = false;
  let batch: Deeds = new Map();
  const ours = new RegExp(`^(add|insert|replace|delete|destroy|flush|create|rename) (\\w+) ${table}(?= |$)(?: ([\\w-]{1,64}))?`);
  const markOf = new RegExp(`^add element ${table} writes \\{ (\\S+ \\. \\S+) \\}`);
  const followed: Followed = tools.follow("nft", ["-n", "monitor"], {
    onLine(line) {
      if (line.startsWith("# new generation")) {
        if (!isOurs && told.length < MAX_TOLD) told.push(...wordsOf(batch).slice(0, MAX_TOLD - told.length));
        batch = new Map();
        isOurs = false;
        return;
      }
      if (/lost some netlink events/i.test(line)) onEnd("nft monitor lost events");
      const [, verb, kind, name = ""] = ours.exec(line) ?? [];
      if (verb === undefined || kind === undefined) return;
      const mark = markOf.exec(line)?.[1];
      if (mark !== undefined && expected.delete(canonicalMark(mark))) {
        isOurs = true;
        isListening = true;
      }
      count(
        batch,
        kind === "table"
          ? `${THE_TABLE}: ${pastOf(verb)}`
          : `${name}: ${kind === "element" || kind === "rule" ? `${kind} ` : ""}${pastOf(verb)}`,
      );
    },
    onEnd,
  });
  return {
    get isListening() {
      return isListening;
    },
    expect: (mark) => {
      expected.add(canonicalMark(mark));
    },
    changes: () => told,
    close: () => followed.close(),
  };
}

/** What a transaction did → how often. A transaction of thousands of elements is a few of these. */
type Deeds = Map<string, number>;

const MAX_DEEDS = 32;
const THE_TABLE = "the whole table";

function count(deeds: Deeds, deed: string): void {
  if (deeds.has(deed) || deeds.size < MAX_DEEDS || deed.startsWith(THE_TABLE)) deeds.set(deed, (deeds.get(deed) ?? 0) + 1);
}

/** Where the table went, all that was in it is told of as well, and nobody wants to read that. */
function wordsOf(deeds: Deeds): string[] {
  const gone = [...deeds.keys()].filter((deed) => deed.startsWith(THE_TABLE));
  return gone.length > 0 ? gone : Array.from(deeds, ([deed, times]) => (times === 1 ? deed : `${deed} (${times} times)`));
}

function pastOf(verb: string): string {
  const past: Record<string, string> = {
    add: "added",
    create: "added",
    insert: "added",
    replace: "replaced",
    flush: "emptied",
    rename: "renamed",
  };
  return past[verb] ?? "deleted";
}

/** `0x00000005 . 0x00000001` and `0x5 . 0x1` are the same. */
export function canonicalMark(mark: string): string {
  return mark
    .split(" . ")
    .map((part) => Number(part).toString(16))
    .join(".");
}
