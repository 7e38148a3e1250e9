import { setFlagsFromString } from "node:v8";
import { Worker } from "node:worker_threads";
import type { Logger } from "pino";
import { describeError } from "#proto/error.ts";
import { Feed, type Batch } from "./feed.ts";
import type { FromMember, MemberReport, MemberStart, ProbeBack, ToMember } from "./messages.ts";
import { NO_STATS } from "./stats.ts";

/** A running member, seen from the agent's thread. */
export interface Member {
  readonly feed: Feed;
  /** The last. */
  readonly report: MemberReport;
  tell(message: Exclude<ToMember, { kind: "chunk" | "stop" }>): void;
  /** Stops it when the signal aborts. Why it ended by itself; undefined = it was stopped. */
  ended(signal: AbortSignal): Promise<string | undefined>;
}

export interface MemberDeps {
  readonly start: MemberStart;
  /** For tests: another program, and another patience with it. */
  readonly program?: URL | undefined;
  readonly stuckMs?: number | undefined;
  readonly everything: () => Batch;
  readonly log: Pick<Logger, "info" | "warn">;
  readonly onReport: () => void;
  readonly onProbeBack: (message: ProbeBack) => void;
}

/** What a member may take at most (10,000 services take 20): one that leaks ends, and not the host. Three times V8's semi-space of 1 MB for the young. */
const LIMITS = { maxOldGenerationSizeMb: 1024, maxYoungGenerationSizeMb: 3 };
const PROGRAM = new URL("./member.ts", import.meta.url);
/** It reports each second; so long without one, and its thread is stuck. */
const STUCK_MS = 10_000;
const GRACE_MS = 1000;
/** For draining. */
const STOP_MS = 1000;

export function startMember({ start, program = PROGRAM, stuckMs = STUCK_MS, everything, log, onReport, onProbeBack }: MemberDeps): Member {
  // The launcher's flag is for the agent's own heap, which has it by now; it would win over the limit (docs/adr/0328).
  setFlagsFromString("--max-semi-space-size=0");
  const worker = new Worker(program, {
    name: "fairlead-dns",
    workerData: start,
    resourceLimits: LIMITS,
  });
  const end = Promise.withResolvers<string>();
  let report: MemberReport = { stats: NO_STATS, problems: [], bound: [], stallMs: 0 };
  let why: string | undefined;
  const giveUp = (): void => {
    why = `it did not answer for ${stuckMs / 1000} s`;
    void worker.terminate();
  };
  // Not at once: where this thread was busy itself, the reports that wait are read first.
  const doubt = (): void => void (stuck = setTimeout(giveUp, GRACE_MS));
  let stuck = setTimeout(doubt, stuckMs);
  const feed = new Feed((chunk) => worker.postMessage({ kind: "chunk", chunk } satisfies ToMember), everything);

  worker.on("message", (message: FromMember) => {
    switch (message.kind) {
      case "taken":
        feed.taken();
        return;
      case "probe-back":
        onProbeBack(message);
        return;
      case "log":
        log[message.level](message.fields, message.message);
        return;
      case "report":
        clearTimeout(stuck);
        stuck = setTimeout(doubt, stuckMs);
        report = message.report;
        onReport();
    }
  });
  worker.on("error", (error) => (why = describeError(error)));
  worker.once("exit", (code) => {
    clearTimeout(stuck);
    end.resolve(why ?? `exit code ${code}`);
  });

  return {
    feed,
    get report() {
      return report;
    },
    tell: (message) => worker.postMessage(message),
    async ended(signal) {
      const stop = (): void => {
        worker.postMessage({ kind: "stop" } satisfies ToMember);
        const late = setTimeout(() => void worker.terminate(), STOP_MS);
        worker.once("exit", () => clearTimeout(late));
      };
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
      const reason = await end.promise;
      signal.removeEventListener("abort", stop);
      return signal.aborted ? undefined : reason;
    },
  };
}
