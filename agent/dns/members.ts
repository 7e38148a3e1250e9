import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import type { DnsChange } from "#agent/compile/dns-records.ts";
import { backoffMs, pause } from "#proto/backoff.ts";
import type { Batch } from "./feed.ts";
import type { ImagePlace } from "./image.ts";
import type { ListenAddress } from "./listen.ts";
import { createSelfQuery } from "./self-query.ts";
import { startMember, type Member } from "./member-thread.ts";
import type { AppliedState, DnsStats, ResponderFacts } from "./responder.ts";
import { addStats, endedStats, NO_STATS } from "./stats.ts";
import type { Upstream } from "./upstream-udp.ts";
import { followHostUpstreams, RESOLV_CONF, type ResolvConfPaths } from "./upstreams.ts";

export interface DnsMembersOptions extends ResponderFacts {
  /** How many threads answer; more than one share the addresses. */
  readonly members: number;
  /** What a member that begins is told: everything there is, compiled as it is read. */
  readonly everything: () => Iterable<DnsChange>;
  /** Where other names are asked; absent = what the host's resolv.conf says, followed as it changes. */
  readonly upstreams?: readonly Upstream[] | undefined;
  /** Absent = where every host has them. */
  readonly resolvConf?: ResolvConfPaths | undefined;
  /** Where the servers are kept that the host named before it was told to ask us; absent = until the process ends. */
  readonly knownUpstreamsFile?: string | undefined;
  /** Whom the original names that `fairlead dns install` keeps. */
  readonly adopted?: (() => Promise<readonly string[]>) | undefined;
  /** Where the zone is kept for the next start; absent = nowhere. */
  readonly image?: ImagePlace | undefined;
  /** For tests and benches. */
  readonly measuresStalls?: boolean;
  readonly program?: URL;
  readonly stuckMs?: number;
  readonly log: Pick<Logger, "info" | "warn">;
}

/** The node's DNS server, apart from the agent's own loops: a burst of changes delays no answer, and a burst of questions no change. */
export interface DnsMembers {
  /** The zone follows as fast as the members take it. With `all`, the changes are read when their turn comes. */
  apply(changes: Iterable<DnsChange>, state: AppliedState): void;
  /** The prefixes that may ask, when the node's networks change. */
  allowSources(cidrs: readonly string[]): void;
  /** Answers until the signal, drains, ends the threads. A member that ends by itself is started again. */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves when every member has bound every address. */
  listening(): Promise<readonly ListenAddress[]>;
  /** What is wrong now, a line each. */
  problems(): readonly string[];
  stats(): MembersStats;
  health(): DnsHealth;
  /** With `measuresStalls`: the longest that a member's loop worked without a pause, by its reports since this was asked last. */
  takeStallMs(): number;
}

/** For /readyz. */
export interface DnsHealth {
  /** undefined = names are answered. */
  readonly fault: string | undefined;
  readonly detail: string;
}

export interface MembersStats extends DnsStats {
  /** How many members answer. */
  readonly running: number;
  /** How many ended that should not have. */
  readonly restarts: number;
  readonly bound: readonly ListenAddress[];
  /** How long the last question to ourselves took; undefined = it was not answered. */
  readonly selfQueryMs: number | undefined;
}

/** Who lived so long is not in a circle of crashes. */
const STEADY_MS = 30_000;
const BACKOFF = { baseMs: 100, maxMs: 5000 };

export function createDnsMembers(options: DnsMembersOptions): DnsMembers {
  const { log } = options;
  const slots: { member: Member | undefined; problem: string | undefined }[] = Array.from({ length: options.members }, () => ({
    member: undefined,
    problem: undefined,
  }));
  const loopToken = randomBytes(8).toString("hex");
  const allBound = Promise.withResolvers<readonly ListenAddress[]>();
  let ended = NO_STATS;
  let [restarts, stallMs] = [0, 0];
  let applied = { revision: 0, synced: false, serial: secondsNow() };
  let { allowedSources, upstreams } = options;

  const self = createSelfQuery(options.domain, () => members()[0]?.report.bound ?? []);

  const everything = (): Batch => ({ ...applied, changes: options.everything(), all: true });
  const members = (): Member[] => slots.flatMap(({ member }) => member ?? []);
  const onReport = (): void => {
    stallMs = Math.max(stallMs, ...members().map(({ report }) => report.stallMs));
    const bound = members().map(({ report }) => report.bound);
    if (bound.length === slots.length && bound.every((places) => places.length === options.listen.length)) allBound.resolve(bound[0] ?? []);
  };
  const useUpstreams = (next: readonly Upstream[]): void => {
    upstreams = next;
    for (const member of members()) member.tell({ kind: "upstreams", upstreams: next });
  };

  /** One after the other in this slot, until the signal. */
  async function keepMember(slot: (typeof slots)[number], signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      const { listen, domain, moreDomains, serviceCidrs, dnsIps, stubs, image, measuresStalls = false } = options;
      const start = {
        listen,
        domain,
        moreDomains,
        serviceCidrs,
        dnsIps,
        stubs,
        allowedSources,
        reusePort: slots.length > 1,
        measuresStalls,
        // Not twice: what ended this thread may be what it read.
        image: image && { ...image, restores: failures === 0 && !applied.synced, saves: slot === slots[0] },
        loopToken,
      };
      const startedMs = performance.now();
      const member = startMember({
        start,
        program: options.program,
        stuckMs: options.stuckMs,
        everything,
        log,
        onReport,
        onProbeBack: (message) => {
          for (const other of members()) if (other !== member) other.tell(message);
        },
      });
      if (upstreams) member.tell({ kind: "upstreams", upstreams });
      slot.member = member;
      const why = await member.ended(signal);
      slot.member = undefined;
      ended = addStats(ended, endedStats(member.report.stats));
      if (why === undefined) return;
      restarts++;
      failures = performance.now() - startedMs > STEADY_MS ? 1 : failures + 1;
      slot.problem = `the DNS responder ended (${why}), and is started again`;
      log.warn({ error: why, failures }, "the DNS responder ended and is started again");
      setTimeout(() => (slot.problem = undefined), STEADY_MS).unref();
      await pause(backoffMs(failures, Math.random(), BACKOFF), signal);
    }
  }

  return {
    apply(changes, { revision, synced, all }) {
      const isChange = all || (Array.isArray(changes) && changes.length > 0);
      applied = { revision, synced, serial: isChange ? secondsNow() : applied.serial };
      // Each member reads everything for itself; a few changes are one array for all of them.
      for (const { feed } of members()) feed.put(all ? everything() : { ...applied, changes, all });
    },
    allowSources(cidrs) {
      allowedSources = cidrs;
      for (const member of members()) member.tell({ kind: "sources", cidrs });
    },
    async run(signal) {
      const loops = slots.map((slot) => keepMember(slot, signal));
      loops.push(self.run(signal));
      if (!options.upstreams) loops.push(followUpstreams(options, useUpstreams, signal));
      await Promise.all(loops);
    },
    listening: () => allBound.promise,
    problems() {
      const fault = self.fault();
      const lines = [...slots.flatMap(({ problem }) => problem ?? []), ...members().flatMap(({ report }) => report.problems)];
      return [...new Set(fault === undefined ? lines : [`DNS: ${fault}`, ...lines])];
    },
    stats: () => ({
      ...members().reduce((sum, { report }) => addStats(sum, report.stats), ended),
      running: members().filter(({ report }) => report.bound.length > 0).length,
      restarts,
      bound: members()[0]?.report.bound ?? [],
      selfQueryMs: self.lastMs(),
    }),
    takeStallMs() {
      const taken = stallMs;
      stallMs = 0;
      return taken;
    },
    health() {
      const bound = members().flatMap(({ report }) => report.bound.slice());
      const places = [...new Set(bound.map(({ address, port }) => `${address}:${port}`))];
      const fault = places.length === 0 ? "no address is bound" : self.fault();
      return { fault: fault ?? slots.find(({ member }) => !member)?.problem, detail: `answers at ${places.join(", ")}` };
    },
  };
}

async function followUpstreams(
  { resolvConf = RESOLV_CONF, knownUpstreamsFile, adopted, listen, log }: DnsMembersOptions,
  use: (upstreams: readonly Upstream[]) => void,
  signal: AbortSignal,
): Promise<void> {
  const onChange = (upstreams: readonly Upstream[]): void => {
    log.info({ upstreams: upstreams.map(({ address }) => address) }, "upstream name servers");
    use(upstreams);
  };
  const own = listen.map(({ address }) => address);
  await followHostUpstreams({ paths: resolvConf, own, knownFile: knownUpstreamsFile, adopted, log, onChange }, signal);
}

function secondsNow(): number {
  return Math.floor(Date.now() / 1000);
}
