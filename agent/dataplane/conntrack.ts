import { pause } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import type { Frontend } from "#agent/compile/table.ts";
import type { KernelTools } from "./exec.ts";
import type { DataplaneLog } from "./log.ts";

/**
 * Rules of nat decide about the first packet of a flow only. A UDP client that keeps its socket would stay with an endpoint that is gone, or with
 * none at all when it began before there was one: such flows are forgotten, after the new rules are in place. TCP ends by itself.
 */

interface FrontendChange {
  readonly previous: Frontend | undefined;
  readonly next: Frontend | undefined;
}

/** An address and port that clients send to, and the endpoints that may go on answering; none = the frontend is gone, or empty. */
interface Watched {
  readonly address: string;
  readonly port: number;
  readonly mayAnswer: ReadonlySet<string>;
}

export interface StaleFlow {
  readonly address: string;
  readonly port: number;
  readonly replyAddress: string;
  readonly replyPort: number;
}

export interface FlowCleaner {
  /** Forgets stale flows of the frontends that changed; how many kinds of flows there were. */
  afterChange(changes: readonly FrontendChange[], signal: AbortSignal): Promise<number>;
  /** The same for all that there are: after a start, when nobody knows what changed meanwhile. */
  afterSync(frontends: Iterable<Frontend>, signal: AbortSignal): Promise<number>;
}

export interface FlowCleanerDeps {
  readonly tools: KernelTools;
  readonly log: DataplaneLog;
  /** Told when there are UDP frontends whose stale flows cannot be forgotten; `undefined` = that is over. */
  readonly onProblem?: ((problem: string | undefined) => void) | undefined;
  /** How often to look for a tool that is not there. */
  readonly lookEveryMs?: number;
}

const MISSING = "conntrack is not installed: UDP clients that keep their socket stay with endpoints that are gone";
const TOOL = "conntrack";
const INSTALL = "apt-get install conntrack";

export function openFlowCleaner(deps: FlowCleanerDeps): FlowCleaner {
  const { tools, log } = deps;
  const tool = watchForTool(deps);
  const clean = async (watched: readonly Watched[], signal: AbortSignal): Promise<number> => {
    if (watched.length === 0 || !(await tool.isThere(signal))) return 0;
    try {
      const stale = staleFlows(await listFlows(tools, watched, signal), watched);
      for (const flow of stale) await forget(tools, flow, signal);
      return stale.length;
    } catch (cause) {
      if (signal.aborted) throw cause;
      log.warn(
        { error: describeError(cause) },
        "could not forget stale UDP flows; they end when their clients are silent for 30 s to 3 min",
      );
      return 0;
    }
  };
  const follow = async (changes: readonly FrontendChange[], signal: AbortSignal): Promise<number> => {
    await tool.follow(changes, signal);
    return clean(changes.flatMap(watchedOfChange), signal);
  };
  return {
    afterChange: follow,
    async afterSync(frontends, signal) {
      tool.forgetFrontends();
      return follow(
        Array.from(frontends, (next) => ({ previous: undefined, next })),
        signal,
      );
    },
  };
}

interface ToolWatch {
  isThere(signal: AbortSignal): Promise<boolean>;
  /** Keeps count of the frontends that need the tool. */
  follow(changes: readonly FrontendChange[], signal: AbortSignal): Promise<void>;
  forgetFrontends(): void;
}

/** Whether conntrack is there, and a problem while it is not and would be needed. It may be installed at any time. */
function watchForTool({ tools, log, onProblem, lookEveryMs = 30_000 }: FlowCleanerDeps): ToolWatch {
  const needing = new Set<string>();
  let found: boolean | undefined;
  let isReported = false;

  function report(): void {
    const isProblem = found === false && needing.size > 0;
    if (isProblem !== isReported) onProblem?.(isProblem ? `${MISSING} (${INSTALL})` : undefined);
    isReported = isProblem;
  }

  async function lookAgain(signal: AbortSignal): Promise<void> {
    while (found === false) {
      await pause(lookEveryMs, signal);
      if (signal.aborted) return;
      found = await tools.has(TOOL);
    }
    log.info({}, "conntrack is there now");
    report();
  }

  async function isThere(signal: AbortSignal): Promise<boolean> {
    if (found === undefined) {
      found = await tools.has(TOOL);
      if (!found) {
        log.warn({ hint: INSTALL }, MISSING);
        void lookAgain(signal);
      }
    }
    return found;
  }

  return {
    isThere,
    async follow(changes, signal) {
      // First what goes: an address may have gone from one service to another.
      for (const { previous, next } of changes) if (needsTool(previous) && !next) needing.delete(placeOf(previous));
      for (const { next } of changes) if (needsTool(next)) needing.add(placeOf(next));
      if (needing.size > 0) await isThere(signal);
      report();
    },
    forgetFrontends: () => needing.clear(),
  };
}

function needsTool(frontend: Frontend | undefined): frontend is Frontend {
  return frontend?.protocol === "UDP" && frontend.family === "IPv4";
}

function placeOf({ address, port }: Frontend): string {
  return `${address} ${port}`;
}

/** Only where an endpoint went, or the first one came. */
function watchedOfChange({ previous, next }: FrontendChange): Watched[] {
  const frontend = next ?? previous;
  if (!needsTool(frontend)) return [];
  const before = targetsOf(previous);
  const after = targetsOf(next);
  const someWent = [...before].some((target) => !after.has(target));
  const firstCame = (previous?.backends.length ?? 0) === 0 && (next?.backends.length ?? 0) > 0;
  return someWent || firstCame || !next ? [{ address: frontend.address, port: frontend.port, mayAnswer: after }] : [];
}

function targetsOf(frontend: Frontend | undefined): Set<string> {
  return new Set([...(frontend?.backends ?? []), ...(frontend?.draining ?? [])].map(({ address, port }) => `${address} ${port}`));
}

/** Pure: which flows of `listing` (conntrack -L) go to a watched address and are answered by nobody who may. Each kind once. */
export function staleFlows(listing: string, watched: readonly Watched[]): readonly StaleFlow[] {
  const byTarget = new Map<string, Set<string>>();
  for (const { address, port, mayAnswer } of watched) {
    // Two of the same: an address that went from one service to another at once.
    const target = `${address} ${port}`;
    byTarget.set(target, new Set([...(byTarget.get(target) ?? []), ...mayAnswer]));
  }
  const stale = new Map<string, StaleFlow>();
  for (const line of listing.split("\n")) {
    const [question, answer] = [...line.matchAll(/src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/g)];
    if (!question || !answer) continue;
    const [, , address = "", , port = ""] = question;
    const [, replyAddress = "", , replyPort = ""] = answer;
    const target = byTarget.get(`${address} ${port}`);
    if (!target || target.has(`${replyAddress} ${replyPort}`)) continue;
    stale.set(`${address} ${port} ${replyAddress} ${replyPort}`, {
      address,
      port: Number(port),
      replyAddress,
      replyPort: Number(replyPort),
    });
  }
  return [...stale.values()];
}

async function listFlows(tools: KernelTools, watched: readonly Watched[], signal: AbortSignal): Promise<string> {
  const [only] = watched;
  const narrow = watched.length === 1 && only ? ["--orig-dst", only.address, "--orig-port-dst", String(only.port)] : [];
  const { stdout } = await tools.run("conntrack", ["-L", "-f", "ipv4", "-p", "udp", ...narrow], { signal, accept: [1] });
  return stdout;
}

async function forget(tools: KernelTools, flow: StaleFlow, signal: AbortSignal): Promise<void> {
  const question = ["--orig-dst", flow.address, "--orig-port-dst", String(flow.port)];
  const answer = ["--reply-src", flow.replyAddress, "--reply-port-src", String(flow.replyPort)];
  // 1 = there was nothing to delete any more.
  await tools.run("conntrack", ["-D", "-f", "ipv4", "-p", "udp", ...question, ...answer], { signal, accept: [1] });
}
