import { isFailure } from "./reply-cache.ts";
import { FLAG } from "./protocol.ts";
import type { Transport } from "./reply.ts";
import type { Target, Targets } from "./targets.ts";
import { askTcp } from "./upstream-tcp.ts";
import type { UpstreamReply } from "./upstream-udp.ts";
import { EDE } from "./write-stored.ts";
import type { Ede } from "./write-stored.ts";

export const FORWARD_TIMES = {
  /** Then the next upstream is asked; the earlier one may still answer. */
  attemptMs: 1000,
  /** Below the 5 s after which glibc gives up. */
  overallMs: 4500,
} as const;

export interface ForwardQuestion {
  readonly message: Buffer;
  readonly question: Buffer;
  readonly transport: Transport;
}

/** SERVFAIL and REFUSED of an upstream are replies, too, when nobody says anything better. */
export type Forwarded = UpstreamReply | { readonly ede: Ede };

export interface ForwardEvents {
  readonly onDone: (outcome: Forwarded) => void;
  /** The first upstream lets us wait. */
  readonly onSlow: () => void;
}

/** One question on its way from upstream to upstream, until one of them has an answer or the time is over. */
export class Exchange {
  readonly #targets: Targets;
  readonly #asked: ForwardQuestion;
  readonly #events: ForwardEvents;
  readonly #order: readonly Target[];
  readonly #endMs: number;
  readonly #forget: (() => void)[] = [];
  /** Who was asked and has said nothing yet. */
  readonly #silent = new Set<Target>();
  #attempts = 0;
  /** Grows with each attempt, also over TCP: what comes of an earlier one moves nothing on. */
  #turn = 0;
  #isTcp = false;
  /** Nobody is left to be asked. */
  #isLast = false;
  #fallback: UpstreamReply | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isDone = false;

  /** `order`: who is asked, one after the other. */
  constructor(targets: Targets, order: readonly Target[], asked: ForwardQuestion, events: ForwardEvents) {
    this.#targets = targets;
    this.#order = order;
    this.#asked = asked;
    this.#events = events;
    this.#endMs = performance.now() + FORWARD_TIMES.overallMs;
  }

  start(): void {
    this.#next("first");
  }

  /** Without an answer. */
  stop(): void {
    this.#finish({ ede: EDE.networkError });
  }

  /** Nobody is asked twice but by those who did not answer in time: a refused port stays refused, and SERVFAIL was an answer. */
  #next(why: "first" | "silence" | "refused" | "unwilling"): void {
    clearTimeout(this.#timer);
    const leftMs = this.#endMs - performance.now();
    const target = this.#order[this.#attempts % Math.max(1, this.#order.length)];
    const isOver = why !== "silence" && this.#attempts >= this.#order.length;
    if (isOver && leftMs > 0 && this.#isAnyoneExpected()) {
      this.#isLast = true;
      this.#timer = setTimeout(() => this.#next("silence"), leftMs);
      return;
    }
    if (!target || isOver || leftMs <= 0) {
      this.#finish(this.#fallback ?? { ede: why === "silence" ? EDE.noReachableAuthority : EDE.networkError });
      return;
    }
    const attempt = ++this.#attempts;
    const turn = ++this.#turn;
    const waitMs = leftMs < FORWARD_TIMES.attemptMs ? leftMs : FORWARD_TIMES.attemptMs;
    this.#timer = setTimeout(() => {
      this.#targets.failed(target);
      if (attempt === 1) this.#events.onSlow();
      if (!this.#isDone) this.#next("silence");
    }, waitMs);
    this.#silent.add(target);
    this.#forget.push(target.sockets.ask(this.#asked.message, this.#asked.question, (reply) => this.#take(target, turn, reply)));
  }

  /** What takes long is worth more than a refusal that came soon. */
  #isAnyoneExpected(): boolean {
    const nowMs = performance.now();
    return [...this.#silent].some(({ health }) => !health.isDead(nowMs));
  }

  #movesOn(turn: number): boolean {
    return turn === this.#turn || (this.#isLast && !this.#isTcp);
  }

  #take(target: Target, turn: number, reply: UpstreamReply | undefined): void {
    if (this.#isDone) return;
    this.#silent.delete(target);
    if (!reply) {
      this.#targets.failed(target);
      if (this.#movesOn(turn)) this.#next("refused");
      return;
    }
    this.#targets.answered(target);
    if (isFailure(reply.parts)) {
      this.#fallback ??= reply;
      if (this.#movesOn(turn)) this.#next("unwilling");
      return;
    }
    if ((reply.parts.flags & FLAG.TC) === 0 || this.#asked.transport === "udp") this.#finish(reply);
    else if (!this.#isTcp) this.#askTcp(target);
  }

  #askTcp(target: Target): void {
    clearTimeout(this.#timer);
    this.#isTcp = true;
    const turn = ++this.#turn;
    const leftMs = Math.max(1, this.#endMs - performance.now());
    const { message, question } = this.#asked;
    this.#forget.push(
      askTcp(target.upstream, message, question, leftMs, (reply) => {
        this.#isTcp = false;
        if (reply && !isFailure(reply.parts)) this.#finish(reply);
        else if (turn === this.#turn) this.#next("refused");
      }),
    );
  }

  #finish(outcome: Forwarded): void {
    if (this.#isDone) return;
    this.#isDone = true;
    clearTimeout(this.#timer);
    for (const forget of this.#forget) forget();
    this.#events.onDone(outcome);
  }
}
