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
/** A transaction of thousands of elements need not be kept to know whose it is. */
const MAX_WORDS = 160;

export function openRuleWatch({ tools, table, onEnd }: RuleWatchDeps): RuleWatch {
  const expected = new Set<string>();
  const told: string[] = [];
  let isListening = false;
  let isOurs = false;
  let batch: string[] = [];
  const ours = new RegExp(`^(?:add|insert|replace|delete|destroy|flush|create|rename) \\w+ ${table}(?: |$)`);
  const markOf = new RegExp(`^add element ${table} writes \\{ (\\S+ \\. \\S+) \\}`);
  const followed: Followed = tools.follow("nft", ["-n", "monitor"], {
    onLine(line) {
      if (line.startsWith("# new generation")) {
        if (batch.length > 0 && !isOurs && told.length < MAX_TOLD) told.push(...batch.slice(0, MAX_TOLD - told.length));
        batch = [];
        isOurs = false;
        return;
      }
      if (/lost some netlink events/i.test(line)) onEnd("nft monitor lost events");
      if (!ours.test(line)) return;
      const mark = markOf.exec(line)?.[1];
      if (mark !== undefined && expected.delete(canonicalMark(mark))) {
        isOurs = true;
        isListening = true;
      }
      if (batch.length < MAX_TOLD) batch.push(line.slice(0, MAX_WORDS));
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

/** `0x00000005 . 0x00000001` and `0x5 . 0x1` are the same. */
export function canonicalMark(mark: string): string {
  return mark
    .split(" . ")
    .map((part) => Number(part).toString(16))
    .join(".");
}
