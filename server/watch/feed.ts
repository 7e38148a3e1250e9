import { FOLLOWED_KINDS } from "#proto/agents.ts";
import type { KindName } from "#proto/kinds.ts";
import { neverHappened } from "#server/store/errors.ts";
import type { Store, StoredChange } from "#server/store/store.ts";
import { forHosts } from "./for-hosts.ts";
import type { Hub } from "./hub.ts";

/**
 * The agents' long poll. A commit wakes all agents at once, and nearly all of them ask from the same revision: their answer is read and
 * encoded once. Nothing is left out of an answer, not even what a later change in it overrides: order and number are what a reader checks.
 */
export interface Feed {
  /**
   * The JSON text of a ChangesReply: changes after `since` as soon as there are any, or none when the time is up or the signal aborts.
   * Rejects with Expired when `since` was compacted or is not of this history.
   */
  nextChanges(query: FeedQuery, signal: AbortSignal): Promise<Buffer>;
  /** Answers held for others who may ask the same. */
  readonly memo: { readonly answers: number; readonly bytes: number };
}

export interface FeedQuery {
  readonly since: number;
  /** The epoch that `since` was learnt in; absent for a reader inside of the server. */
  readonly epoch?: string | undefined;
  readonly limit: number;
  readonly timeoutMs: number;
  /** Absent: those that hosts follow. */
  readonly kinds?: ReadonlySet<KindName> | undefined;
}

interface Answer {
  readonly body: Buffer;
  readonly count: number;
  readonly revision: number;
}

interface Held {
  readonly answer: Promise<Answer>;
  /** The store's revision when it was read: an answer that goes so far is out of date when there is more, one that stops before is not. */
  readonly readAt: number;
  /** Set when it is made. */
  upTo?: number;
  bytes: number;
}

const MEMO_ANSWERS = 256;
const MEMO_BYTES = 16 * 1024 * 1024;
const followed: ReadonlySet<KindName> = new Set(FOLLOWED_KINDS);

export function createFeed({ store, hub }: { readonly store: Store; readonly hub: Hub }): Feed {
  const held = new Map<string, Held>();
  const texts = new WeakMap<StoredChange, string>(); // the store hands out the same recent changes again and again
  let heldBytes = 0;

  async function answerOnce(since: number, limit: number, kinds: ReadonlySet<KindName>): Promise<Answer> {
    const key = `${since}/${limit}/${kinds === followed ? "" : [...kinds].join()}`;
    const found = held.get(key);
    if (found && (found.readAt === store.revision || (found.upTo ?? found.readAt) < found.readAt)) return found.answer;
    if (found) forget(key, found);
    const entry: Held = { answer: makeAnswer(since, limit, kinds), readAt: store.revision, bytes: 0 };
    held.set(key, entry);
    try {
      const answer = await entry.answer;
      if (held.get(key) === entry) keep(entry, answer);
      return answer;
    } catch (error) {
      forget(key, entry);
      throw error;
    }
  }

  async function makeAnswer(since: number, limit: number, kinds: ReadonlySet<KindName>): Promise<Answer> {
    const { changes, revision } = await store.changesSince(since, { kinds, limit });
    const list = changes.map((change) => textOf(change)).join();
    const body = Buffer.from(`{"epoch":${JSON.stringify(store.epoch)},"revision":${revision},"changes":[${list}]}`);
    return { body, count: changes.length, revision };
  }

  function textOf(change: StoredChange): string {
    const known = texts.get(change);
    if (known !== undefined) return known;
    const { revision, type, key, object } = change;
    const text = JSON.stringify({ revision, type: type === "DELETED" ? "DELETE" : "PUT", kind: key.kind, object: forHosts(object) });
    texts.set(change, text);
    return text;
  }

  function keep(entry: Held, { body, revision }: Answer): void {
    entry.upTo = revision;
    entry.bytes = body.length;
    heldBytes += body.length;
    for (const [key, oldest] of held) {
      if (held.size <= MEMO_ANSWERS && heldBytes <= MEMO_BYTES) return;
      forget(key, oldest);
    }
  }

  function forget(key: string, entry: Held): void {
    if (held.get(key) !== entry) return;
    held.delete(key);
    heldBytes -= entry.bytes;
  }

  return {
    nextChanges: async ({ since, epoch, limit, timeoutMs, kinds = followed }, signal) => {
      if (epoch !== undefined && !store.knowsHistory(epoch, since)) throw neverHappened(since, store.revision);
      const endsAt = performance.now() + timeoutMs;
      let from = since;
      for (;;) {
        const answer = await answerOnce(from, limit, kinds);
        if (answer.count > 0) return answer.body;
        from = answer.revision;
        const waking = await hub.waitPast(from, { kinds, timeoutMs: endsAt - performance.now() }, signal);
        if (waking !== "news") return answer.body;
      }
    },
    get memo() {
      return { answers: held.size, bytes: heldBytes };
    },
  };
}
