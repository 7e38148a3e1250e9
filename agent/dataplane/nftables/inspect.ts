import { performance } from "node:perf_hooks";
import { describeError } from "#proto/error.ts";
import type { DataplaneLog } from "../log.ts";
import { openSchedule } from "../schedule.ts";
import { list, type NftTools } from "./apply.ts";
import { wantedOf, type Held } from "./held.ts";
import { tableDrift } from "./listing.ts";
import { openRuleWatch, type RuleWatch } from "./rule-watch.ts";
import { tableWord } from "./render.ts";

/**
 * Is what we wrote still there? `nft monitor` tells of all that others do, so a look costs nothing. Until it has been heard, and where it cannot
 * be, a write that only replaces our mark says whether the table is there. What both cannot see (what happened before the first) is looked up by
 * listing everything, as seldom as it is expensive.
 */
export interface Inspector {
  /** Before a transaction of ours. */
  expect(mark: string): void;
  /** What others have changed, as far as it has been told. */
  changes(): readonly string[];
  inspect(held: Held, signal: AbortSignal): Promise<readonly string[]>;
  /** Before everything is written anew: nobody needs to be told of it. */
  pause(): void;
  close(): void;
}

export interface InspectorDeps {
  readonly tools: NftTools;
  readonly log: DataplaneLog;
  /** Writes nothing but a new mark; fails where ours is not there. */
  readonly touch: () => Promise<void>;
}

const TOUCH_EVERY_MS = 500;
const RESTART_AFTER_MS = 1_000;
const LIST_EVERY_MS = 5_000;

export function openInspector({ tools, log, touch }: InspectorDeps): Inspector {
  let watch: RuleWatch | undefined;
  let touchedAt = -Infinity;
  let startedAt = -Infinity;
  const schedule = openSchedule(LIST_EVERY_MS);

  const start = (held: Held): void => {
    const { follow } = tools;
    if (watch || !follow || performance.now() - startedAt < RESTART_AFTER_MS) return;
    startedAt = performance.now();
    const opened = openRuleWatch({
      tools: { follow },
      table: tableWord(held.words),
      onEnd: (why) => {
        if (watch !== opened) return;
        log.warn({ why }, "nothing tells of changes that others make to our rules; looking myself, and listening again");
        opened.close();
        watch = undefined;
        schedule.hurry();
      },
    });
    watch = opened;
    touchedAt = -Infinity;
  };

  const changes = (): readonly string[] => watch?.changes() ?? [];

  const listed = async (held: Held, signal: AbortSignal): Promise<readonly string[]> => {
    // A chain that nobody needs is on its way out.
    if (held.idle.size > 0) return [];
    return (await schedule.whenDue(async () => tableDrift(wantedOf(held), await list(tools, held.words, signal)))) ?? [];
  };

  return {
    changes,
    expect: (mark) => watch?.expect(mark),
    async inspect(held, signal) {
      start(held);
      if (!watch?.isListening && performance.now() - touchedAt >= TOUCH_EVERY_MS) {
        touchedAt = performance.now();
        try {
          await touch();
        } catch (error) {
          return [`the last write is not there: ${describeError(error)}`];
        }
      }
      const told = changes();
      return told.length > 0 ? told : listed(held, signal);
    },
    pause() {
      watch?.close();
      watch = undefined;
      startedAt = -Infinity;
      schedule.postpone();
    },
    close() {
      watch?.close();
      watch = undefined;
    },
  };
}
