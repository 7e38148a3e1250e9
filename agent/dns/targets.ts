import { randomBytes } from "node:crypto";
import { encodeQuestion } from "./encode-question.ts";
import { keyOfName, wireOfKey } from "./name.ts";
import type { NameKey } from "./name.ts";
import { HEADER_OCTETS, TYPE } from "./protocol.ts";
import { serverKey, serverText } from "./server-address.ts";
import { UpstreamHealth } from "./upstream-health.ts";
import { UpstreamSockets } from "./upstream-udp.ts";
import type { Upstream } from "./upstream-udp.ts";

/** One upstream, and what is known of it. However many lists name it, it is the same. */
export interface Target {
  readonly upstream: Upstream;
  readonly sockets: UpstreamSockets;
  readonly health: UpstreamHealth;
  isLooping: boolean;
}

export const TARGET_TIMES = {
  /** An upstream that is down is probed so often. */
  probeMs: 750,
  /** For so long the reply to a probe counts, and a loop shows itself. */
  patienceMs: 4500,
  /** How often it is looked whether a loop is gone, and whether there is a new one. */
  loopingMs: 10_000,
  loopMs: 300_000,
} as const;

interface Timers {
  probe: NodeJS.Timeout | undefined;
  probedMs: number;
  loop: NodeJS.Timeout | undefined;
  isLoopProbed: boolean;
}

const ROOT_NS = encodeQuestion({ name: Buffer.of(0), type: TYPE.NS });

/** The other threads that answer at the same addresses: the kernel gives a question to any of them. */
export interface Siblings {
  /** In the names of all their probes for loops, and in no others. */
  readonly token: string;
  /** Another one's probe came to us. */
  onProbeBack(key: NameKey): void;
}

export function noSiblings(): Siblings {
  return { token: randomBytes(8).toString("hex"), onProbeBack: () => undefined };
}

/** Keeps upstreams, and asks them now and then on its own account: whether one that is down is back, and whether one leads back to us. */
export class Targets {
  #byServer = new Map<string, Target>();
  readonly #loopProbes = new Map<NameKey, { readonly target: Target; cameBack: boolean }>();
  readonly #timers = new Map<Target, Timers>();
  readonly #siblings: Siblings;
  readonly #ours: NameKey;

  constructor(siblings: Siblings) {
    this.#siblings = siblings;
    this.#ours = keyOfName(`${siblings.token}.loop.invalid`) ?? "";
  }

  /** Keeps those that are named again. Questions to the others may still be answered for a while. */
  use(upstreams: Iterable<Upstream>): ReadonlyMap<string, Target> {
    const before = this.#byServer;
    this.#byServer = new Map();
    for (const upstream of upstreams) {
      const key = serverKey(upstream);
      this.#byServer.set(key, before.get(key) ?? this.#byServer.get(key) ?? open(upstream));
    }
    for (const [key, target] of before) if (this.#byServer.get(key) !== target) this.#retire(target);
    for (const target of this.#byServer.values()) this.#checkForLoop(target);
    return this.#byServer;
  }

  answered({ health }: Target): void {
    health.answered();
  }

  failed(target: Target): void {
    if (!target.health.failed(performance.now()) || !this.#isUsed(target)) return;
    this.#probeWhenDue(target);
    this.#checkForLoop(target); // questions that go round in circles are not answered either
  }

  /** A question that we sent ourselves and that came back: answering it by asking again would never end. */
  isOwn(id: number, question: Buffer, key: NameKey): boolean {
    if (key.endsWith(this.#ours)) {
      if (!this.probeCameBack(key)) this.#siblings.onProbeBack(key);
      return true;
    }
    for (const { sockets } of this.#byServer.values()) if (sockets.isWaitingFor(id, question)) return true;
    return false;
  }

  /** Whether it is a probe of ours that is under way: its upstream leads to us, or to a sibling that tells us so. */
  probeCameBack(key: NameKey): boolean {
    const probe = this.#loopProbes.get(key);
    if (!probe) return false;
    probe.cameBack = true;
    probe.target.isLooping = true;
    return true;
  }

  get all(): readonly Target[] {
    return [...this.#byServer.values()];
  }

  problems(): readonly string[] {
    return this.all.flatMap(({ upstream, health, isLooping }) =>
      isLooping
        ? [`DNS upstream ${serverText(upstream)} leads back to this agent and is not asked: take the agent out of its list of servers`]
        : health.isDown
          ? [`DNS upstream ${serverText(upstream)} does not answer`]
          : [],
    );
  }

  close(): void {
    for (const target of this.#byServer.values()) {
      this.#stopTimers(target);
      target.sockets.close();
    }
    this.#byServer.clear();
    this.#loopProbes.clear();
  }

  #isUsed(target: Target): boolean {
    return this.#byServer.get(serverKey(target.upstream)) === target;
  }

  /** However often it comes and goes meanwhile. */
  #probeWhenDue(target: Target): void {
    const timers = this.#timersOf(target);
    clearTimeout(timers.probe);
    const inMs = Math.max(0, timers.probedMs + TARGET_TIMES.probeMs - performance.now());
    timers.probe = setTimeout(() => this.#probe(target), inMs).unref();
  }

  /** Any answer will do. */
  #probe(target: Target): void {
    if (!target.health.isDown || !this.#isUsed(target)) return;
    this.#timersOf(target).probedMs = performance.now();
    const forget = target.sockets.ask(ROOT_NS, ROOT_NS.subarray(HEADER_OCTETS), (reply) => {
      if (reply) this.answered(target);
    });
    setTimeout(forget, TARGET_TIMES.patienceMs).unref();
    this.#probeWhenDue(target);
  }

  /** Asks for a name that nobody else can know; if that question reaches us, the upstream leads to us. */
  #checkForLoop(target: Target): void {
    const timers = this.#timersOf(target);
    const key = keyOfName(`${randomBytes(8).toString("hex")}.${this.#siblings.token}.loop.invalid`);
    if (key === undefined || timers.isLoopProbed || !this.#isUsed(target)) return;
    const probe = { target, cameBack: false };
    this.#loopProbes.set(key, probe);
    const message = encodeQuestion({ name: wireOfKey(key), type: TYPE.HINFO });
    const forget = target.sockets.ask(message, message.subarray(HEADER_OCTETS), () => undefined);
    timers.isLoopProbed = true;
    clearTimeout(timers.loop);
    // Not at its reply: behind another resolver the question may still be on its way, asked again of others.
    timers.loop = setTimeout(() => {
      forget();
      this.#loopProbes.delete(key);
      target.isLooping = probe.cameBack;
      timers.isLoopProbed = false;
      timers.loop = setTimeout(() => this.#checkForLoop(target), probe.cameBack ? TARGET_TIMES.loopingMs : TARGET_TIMES.loopMs).unref();
    }, TARGET_TIMES.patienceMs).unref();
  }

  #timersOf(target: Target): Timers {
    const found = this.#timers.get(target) ?? { probe: undefined, probedMs: -Infinity, loop: undefined, isLoopProbed: false };
    this.#timers.set(target, found);
    return found;
  }

  #stopTimers(target: Target): void {
    const { probe, loop } = this.#timersOf(target);
    clearTimeout(probe);
    clearTimeout(loop);
    this.#timers.delete(target);
  }

  #retire(target: Target): void {
    this.#stopTimers(target);
    for (const [key, probe] of this.#loopProbes) if (probe.target === target) this.#loopProbes.delete(key);
    setTimeout(() => target.sockets.close(), TARGET_TIMES.patienceMs).unref();
  }
}

function open(upstream: Upstream): Target {
  return { upstream, sockets: new UpstreamSockets(upstream), health: new UpstreamHealth(), isLooping: false };
}

/** Who is up, then who is down; who leads back to us is not asked at all. */
export function inOrder(group: readonly Target[]): readonly Target[] {
  if (group.every(({ health, isLooping }) => !health.isDown && !isLooping)) return group;
  const usable = group.filter(({ isLooping }) => !isLooping);
  return [...usable.filter(({ health }) => !health.isDown), ...usable.filter(({ health }) => health.isDown)];
}
