import { randomBytes } from "node:crypto";
import { encodeQuestion } from "./encode-question.ts";
import { keyOfName, wireOfKey } from "./name.ts";
import type { NameKey } from "./name.ts";
import { FLAG, HEADER_OCTETS, RCODE, RCODE_MASK, TYPE } from "./protocol.ts";
import type { Transport } from "./reply.ts";
import { askTcp } from "./upstream-tcp.ts";
import { UpstreamSockets } from "./upstream-udp.ts";
import type { Upstream } from "./upstream-udp.ts";

export const FORWARD_LIMITS = {
  /** Then the next upstream is asked; the earlier one may still answer. */
  attemptMs: 1000,
  /** Below the 5 s after which glibc gives up. */
  overallMs: 4500,
  attempts: 4,
  /** More than this at once get SERVFAIL, so that a dead upstream takes no memory without end. */
  inFlight: 2000,
  /** An upstream that failed twice in a row is asked last for so long. */
  downMs: 5000,
} as const;

/** The reply still has the id that we gave the question; undefined = no upstream had an answer. */
export type OnForwarded = (reply: Buffer | undefined) => void;

interface Target {
  readonly upstream: Upstream;
  readonly sockets: UpstreamSockets;
  failuresInRow: number;
  downUntilMs: number;
}

interface Exchange {
  readonly message: Buffer;
  readonly question: Buffer;
  readonly transport: Transport;
  readonly onDone: OnForwarded;
  readonly startedMs: number;
  readonly order: readonly Target[];
  readonly forget: (() => void)[];
  attempts: number;
  /** What to say when nobody says anything better: SERVFAIL or REFUSED of an upstream. */
  fallback: Buffer | undefined;
  timer: NodeJS.Timeout | undefined;
}

/**
 * Relays questions for other names, as they are, and their replies: unknown options and types survive. Shares nothing with the answers for our own names
 * but the event loop.
 */
export class Forwarder {
  #targets: readonly Target[] = [];
  readonly #exchanges = new Set<Exchange>();
  readonly #probes = new Map<NameKey, Target>();
  readonly #looping = new Set<Target>();

  /** Replaces the upstreams; questions in flight end with those that they were sent to. */
  use(upstreams: readonly Upstream[]): void {
    const same = (a: Upstream, b: Upstream): boolean => a.address === b.address && a.port === b.port;
    const before = this.#targets;
    this.#targets = upstreams.map(
      (upstream) =>
        before.find((target) => same(target.upstream, upstream)) ?? {
          upstream,
          sockets: new UpstreamSockets(upstream),
          failuresInRow: 0,
          downUntilMs: 0,
        },
    );
    for (const gone of before.filter((target) => !this.#targets.includes(target))) {
      this.#looping.delete(gone);
      setTimeout(() => gone.sockets.close(), FORWARD_LIMITS.overallMs).unref();
    }
    for (const target of this.#targets) this.#probeForLoop(target);
  }

  /** False = too many are in flight already. */
  forward(message: Buffer, question: Buffer, transport: Transport, onDone: OnForwarded): boolean {
    if (this.#exchanges.size >= FORWARD_LIMITS.inFlight) return false;
    const nowMs = performance.now();
    const usable = this.#targets.filter((target) => !this.#looping.has(target));
    const up = usable.filter(({ downUntilMs }) => downUntilMs <= nowMs);
    const order = up.length === usable.length ? usable : [...up, ...usable.filter((target) => !up.includes(target))];
    const exchange: Exchange = {
      message,
      question,
      transport,
      onDone,
      startedMs: nowMs,
      order,
      forget: [],
      attempts: 0,
      fallback: undefined,
      timer: undefined,
    };
    this.#exchanges.add(exchange);
    this.#next(exchange);
    return true;
  }

  /** A question that we sent ourselves and that came back: answering it by asking again would never end. */
  isOwn(id: number, question: Buffer, key: NameKey): boolean {
    const probed = this.#probes.get(key);
    if (probed) this.#looping.add(probed);
    return probed !== undefined || this.#targets.some(({ sockets }) => sockets.isWaitingFor(id, question));
  }

  get inFlight(): number {
    return this.#exchanges.size;
  }

  problems(): readonly string[] {
    const loops = Array.from(
      this.#looping,
      ({ upstream }) =>
        `DNS upstream ${upstream.address} leads back to this agent and is not asked: take the agent out of its list of servers`,
    );
    if (this.#targets.length === 0)
      return [
        "no DNS upstream: names outside the cluster domain cannot be resolved here; name servers with --dns-upstream or in /etc/resolv.conf",
      ];
    const nowMs = performance.now();
    const down = this.#targets.filter(({ downUntilMs }) => downUntilMs > nowMs);
    return [...loops, ...down.map(({ upstream }) => `DNS upstream ${upstream.address} does not answer`)];
  }

  close(): void {
    for (const exchange of this.#exchanges) this.#finish(exchange, undefined);
    for (const { sockets } of this.#targets) sockets.close();
  }

  #next(exchange: Exchange): void {
    clearTimeout(exchange.timer);
    const leftMs = FORWARD_LIMITS.overallMs - (performance.now() - exchange.startedMs);
    const target = exchange.order[exchange.attempts % Math.max(1, exchange.order.length)];
    if (!target || exchange.attempts >= FORWARD_LIMITS.attempts || leftMs <= 0) {
      this.#finish(exchange, exchange.fallback);
      return;
    }
    exchange.attempts++;
    exchange.timer = setTimeout(
      () => {
        fail(target);
        this.#next(exchange);
      },
      Math.min(FORWARD_LIMITS.attemptMs, leftMs),
    );
    exchange.forget.push(target.sockets.ask(exchange.message, exchange.question, (reply) => this.#take(exchange, target, reply)));
  }

  #take(exchange: Exchange, target: Target, reply: Buffer | undefined): void {
    if (!this.#exchanges.has(exchange)) return;
    if (!reply) {
      fail(target);
      this.#next(exchange);
      return;
    }
    target.failuresInRow = 0;
    target.downUntilMs = 0;
    const flags = reply.readUInt16BE(2);
    const rcode = flags & RCODE_MASK;
    if (rcode === RCODE.SERVFAIL || rcode === RCODE.REFUSED) {
      exchange.fallback ??= reply;
      if (exchange.attempts < exchange.order.length) this.#next(exchange);
      else this.#finish(exchange, exchange.fallback);
      return;
    }
    if ((flags & FLAG.TC) !== 0 && exchange.transport === "tcp") {
      this.#askTcp(exchange, target);
      return;
    }
    this.#finish(exchange, reply);
  }

  #askTcp(exchange: Exchange, target: Target): void {
    clearTimeout(exchange.timer);
    const leftMs = Math.max(1, FORWARD_LIMITS.overallMs - (performance.now() - exchange.startedMs));
    exchange.forget.push(
      askTcp(target.upstream, exchange.message, exchange.question, leftMs, (reply) => this.#finish(exchange, reply ?? exchange.fallback)),
    );
  }

  #finish(exchange: Exchange, reply: Buffer | undefined): void {
    clearTimeout(exchange.timer);
    if (!this.#exchanges.delete(exchange)) return;
    for (const forget of exchange.forget) forget();
    exchange.onDone(reply);
  }

  /** Asks each upstream for a name that nobody else can know; if that question reaches us, the upstream leads to us. */
  #probeForLoop(target: Target): void {
    const key = keyOfName(`${randomBytes(8).toString("hex")}.loop.invalid`);
    if (key === undefined) return;
    const message = encodeQuestion({ name: wireOfKey(key), type: TYPE.HINFO });
    this.#probes.set(key, target);
    const forget = target.sockets.ask(message, message.subarray(HEADER_OCTETS), () => this.#probes.delete(key));
    setTimeout(() => {
      forget();
      this.#probes.delete(key);
    }, FORWARD_LIMITS.overallMs).unref();
  }
}

function fail(target: Target): void {
  target.failuresInRow++;
  if (target.failuresInRow >= 2) target.downUntilMs = performance.now() + FORWARD_LIMITS.downMs;
}
