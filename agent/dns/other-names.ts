import { answerBits, capUdpOctets, readClientOpt } from "./client-opt.ts";
import { Latency } from "./forward-stats.ts";
import type { ForwardStats } from "./forward-stats.ts";
import { Exchange } from "./forward.ts";
import type { Forwarded } from "./forward.ts";
import { writeInside } from "./inside.ts";
import type { NameKey } from "./name.ts";
import { RCODE } from "./protocol.ts";
import type { Query } from "./query.ts";
import { octetLimit } from "./reply.ts";
import type { Transport } from "./reply.ts";
import { isFailure, ReplyCache, storedReply } from "./reply-cache.ts";
import type { StoredReply } from "./reply-cache.ts";
import { Routes } from "./routes.ts";
import { serverKey, serverText } from "./server-address.ts";
import type { StubDomain } from "./stub-domains.ts";
import { inOrder, noSiblings, Targets, type Siblings } from "./targets.ts";
import type { Target } from "./targets.ts";
import type { Upstream } from "./upstream-udp.ts";
import { EDE, writeFailure, writeStored } from "./write-stored.ts";
import type { Ede } from "./write-stored.ts";

export const RELAY_LIMITS = {
  /** More clients than this at once get SERVFAIL, so that a dead upstream takes no memory without end. */
  waiting: 2000,
  /** Questions that nobody waits for: they show that a dead upstream is back, and make stale replies fresh. */
  background: 32,
} as const;

export interface Servers {
  readonly upstreams: readonly Upstream[];
  readonly stubs: readonly StubDomain[];
}

interface Client {
  readonly query: Query;
  readonly transport: Transport;
  readonly isDnssecOk: boolean;
  readonly reply: (message: Buffer) => void;
}

/** What is known of a question before anybody is asked. */
interface Known {
  /** undefined = nobody else may have the answer. */
  readonly cacheKey: string | undefined;
  readonly stale: StoredReply | undefined;
  readonly order: readonly Target[];
}

/** One question to the upstreams, for all who ask the same meanwhile. */
interface Shared extends Known {
  /** Who gets the reply as it is, and the others a copy made for them. */
  readonly leader: Query;
  readonly mergeKey: string | undefined;
  readonly startedMs: number;
  clients: Client[];
  isSlow: boolean;
}

/**
 * Names that are not ours: relayed to the host's name servers as they are, so that unknown options and types survive. Shares nothing with the answers for
 * our own names but the event loop.
 */
export class OtherNames {
  readonly #onOverload: () => void;
  readonly #targets: Targets;
  readonly #cache = new ReplyCache();
  readonly #exchanges = new Set<Exchange>();
  readonly #byMergeKey = new Map<string, Shared>();
  readonly #latency = new Latency();
  readonly #counts = { hits: 0, stale: 0, misses: 0, merged: 0, inside: 0, failed: 0 };
  #routes = new Routes<readonly Target[]>([], []);
  #hasUpstreams = false;
  #waiting = 0;
  #background = 0;

  constructor(onOverload: () => void, siblings: Siblings = noSiblings()) {
    this.#onOverload = onOverload;
    this.#targets = new Targets(siblings);
  }

  /** Questions in flight end with the servers that they were sent to. */
  use({ upstreams, stubs }: Servers): void {
    const targets = this.#targets.use([...upstreams, ...stubs.flatMap(({ servers }) => servers)]);
    const groupOf = (servers: readonly Upstream[]): Target[] => [
      ...new Set(servers.flatMap((server) => targets.get(serverKey(server)) ?? [])),
    ];
    this.#routes = new Routes<readonly Target[]>(
      groupOf(upstreams),
      stubs.map(({ suffix, servers }) => ({ suffix, group: groupOf(servers) })),
    );
    this.#hasUpstreams = upstreams.length > 0;
    // Another network may call other things by the same names. A host that is in no network now has only what it knew.
    if (this.#hasUpstreams) this.#cache.clear();
  }

  /** A question that we sent ourselves and that came back: answering it by asking again would never end. */
  isOwn(id: number, question: Buffer, key: NameKey): boolean {
    return this.#targets.isOwn(id, question, key);
  }

  /** A sibling got what may be our probe. */
  probeCameBack(key: NameKey): void {
    this.#targets.probeCameBack(key);
  }

  /** Gives exactly one reply, at once or within 4.5 s. */
  answer(query: Query, transport: Transport, reply: (message: Buffer) => void): void {
    const route = this.#routes.of(query);
    if (route.kind === "inside") {
      this.#counts.inside++;
      reply(writeInside(query, route.zoneAt, transport));
      return;
    }
    const opt = readClientOpt(query.message, query.question);
    const client = { query, transport, isDnssecOk: opt.isDnssecOk, reply };
    const cacheKey = opt.isSharable ? `${query.key}${String.fromCharCode(query.type)}${answerBits(query.flags, opt)}` : undefined;
    const nowMs = performance.now();
    const found = cacheKey === undefined ? undefined : this.#cache.find(cacheKey, nowMs);
    if (found && nowMs < found.freshUntilMs) {
      this.#counts.hits++;
      reply(writeStored(client, found, nowMs));
      return;
    }
    capUdpOctets(query.message, opt);
    this.#ask(client, { cacheKey, stale: found, order: inOrder(route.group) }, nowMs);
  }

  get waiting(): number {
    return this.#waiting;
  }

  problems(): readonly string[] {
    return [...(this.#hasUpstreams ? [] : [NO_UPSTREAM]), ...this.#targets.problems()];
  }

  stats(): ForwardStats {
    return {
      ...this.#counts,
      inFlight: this.#exchanges.size,
      cacheEntries: this.#cache.size,
      cacheOctets: this.#cache.octets,
      latency: this.#latency.read(),
      upstreams: this.#targets.all.map(({ upstream, health, isLooping }) => ({
        address: serverText(upstream),
        state: isLooping ? "looping" : health.isDown ? "down" : "up",
      })),
    };
  }

  close(): void {
    for (const exchange of this.#exchanges) exchange.stop();
    this.#targets.close();
  }

  #ask(client: Client, known: Known, nowMs: number): void {
    const { order, stale } = known;
    if (order.every(({ health }) => health.isDown) && (stale || order.every(({ health }) => health.isDead(nowMs)))) {
      this.#giveUp(client, stale, EDE.noReachableAuthority);
      if (order.length > 0 && this.#background < RELAY_LIMITS.background) this.#start([], client, known, nowMs);
      return;
    }
    if (this.#waiting >= RELAY_LIMITS.waiting) {
      this.#onOverload();
      this.#giveUp(client, stale);
      return;
    }
    const shared = known.cacheKey === undefined ? undefined : this.#byMergeKey.get(mergeKeyOf(client, known.cacheKey));
    if (!shared) {
      this.#waiting++;
      this.#start([client], client, known, nowMs);
      return;
    }
    this.#counts.merged++;
    if (shared.isSlow && shared.stale) this.#giveUp(client, shared.stale);
    else {
      this.#waiting++;
      shared.clients.push(client);
    }
  }

  /** No clients = only to know. */
  #start(clients: Client[], asked: Client, known: Known, nowMs: number): void {
    const { query, transport } = asked;
    const mergeKey = known.cacheKey === undefined ? undefined : mergeKeyOf(asked, known.cacheKey);
    const isBackground = clients.length === 0;
    if (isBackground && (mergeKey === undefined || this.#byMergeKey.has(mergeKey))) return;
    const shared: Shared = { ...known, leader: query, mergeKey, startedMs: nowMs, clients, isSlow: false };
    const exchange = new Exchange(
      this.#targets,
      known.order,
      { message: query.message, question: query.question, transport },
      {
        onDone: (outcome) => {
          this.#exchanges.delete(exchange);
          if (mergeKey !== undefined) this.#byMergeKey.delete(mergeKey);
          if (isBackground) this.#background--;
          this.#finish(shared, outcome);
        },
        onSlow: () => {
          shared.isSlow = true;
          if (shared.stale) for (const client of this.#release(shared)) this.#giveUp(client, shared.stale);
        },
      },
    );
    this.#counts.misses++;
    this.#exchanges.add(exchange);
    if (mergeKey !== undefined) this.#byMergeKey.set(mergeKey, shared);
    if (isBackground) this.#background++;
    exchange.start();
  }

  #finish(shared: Shared, outcome: Forwarded): void {
    const { leader, cacheKey, stale } = shared;
    const clients = this.#release(shared);
    if ("ede" in outcome || (stale && isFailure(outcome.parts))) {
      for (const client of clients) this.#giveUp(client, stale, "ede" in outcome ? outcome.ede : undefined);
      return;
    }
    const { message, parts } = outcome;
    const nowMs = performance.now();
    this.#latency.add((nowMs - shared.startedMs) / 1000);
    const stored = storedReply(message, parts, nowMs);
    if (cacheKey !== undefined && parts.keepSeconds > 0) this.#cache.put(cacheKey, stored);
    for (const client of clients) {
      const isItsOwn = client.query === leader && parts.isWhole && message.length <= octetLimit(client.transport, leader.edns);
      if (isItsOwn) message.writeUInt16BE(leader.id, 0);
      client.reply(isItsOwn ? message : writeStored(client, stored, nowMs));
    }
  }

  #release(shared: Shared): readonly Client[] {
    const { clients } = shared;
    shared.clients = [];
    this.#waiting -= clients.length;
    return clients;
  }

  /** With what was known once, if anything was. */
  #giveUp(client: Client, stale: StoredReply | undefined, ede?: Ede): void {
    this.#counts[stale ? "stale" : "failed"]++;
    client.reply(stale ? writeStored(client, stale, performance.now()) : writeFailure(client, RCODE.SERVFAIL, ede));
  }
}

const NO_UPSTREAM =
  "no DNS upstream: names outside the cluster domain cannot be resolved here; name servers with --dns-upstream or in /etc/resolv.conf";

/** Replies fit all who would have asked in the same way. */
function mergeKeyOf({ query, transport }: Client, cacheKey: string): string {
  return `${cacheKey}${transport}${query.edns?.udpOctets ?? ""}`;
}
