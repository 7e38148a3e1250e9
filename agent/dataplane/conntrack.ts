import { z } from "zod";
import { pause } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import { formatIp, parseCidr, parseIp, type IpFamily } from "#proto/ip.ts";
import type { ForwardingTable, Frontend } from "#agent/compile/table.ts";
import type { KernelTools } from "./exec.ts";
import { frontendsOf, placeOf, type FrontendChange } from "./frontends.ts";
import type { DataplaneLog } from "./log.ts";
import { LEFT, openOwedFlows, tellOne } from "./owed-flows.ts";
import { ANY_PORT, staleFlows, watchedNow, watchedOf, watchedRange, type StaleFlow, type Watched } from "./stale-flows.ts";

/**
 * Rules of nat decide about the first packet of a flow only. A UDP client that keeps its socket would stay with an endpoint that is gone, or with
 * none at all when it began before there was one: such flows are forgotten, after the new rules are in place. TCP and SCTP need none of this: they
 * notice that nobody answers and begin a new connection, which is a new flow; and to forget one that works would break it.
 */

export interface FlowCleaner {
  /** Forgets stale flows of the frontends that changed; how many kinds of flows there were. */
  afterChange(changes: readonly FrontendChange[], signal: AbortSignal): Promise<number>;
  /** The same for all that there are, and for what is at no frontend of the service ranges: nobody knows what changed meanwhile. */
  afterSync(table: ForwardingTable, signal: AbortSignal): Promise<number>;
}

export interface FlowRetry {
  /** Once more what could not be forgotten, when it is time. Rejects only when the signal aborts; what is left is kept. */
  retry(signal: AbortSignal): Promise<void>;
}

export interface FlowCleanerDeps {
  readonly family: IpFamily;
  readonly tools: KernelTools;
  readonly log: DataplaneLog;
  /** Told when there are UDP frontends whose stale flows cannot be forgotten; `undefined` = that is over. */
  readonly onProblem?: ((problem: string | undefined) => void) | undefined;
  /** How often to look for a tool that is not there. */
  readonly lookEveryMs?: number;
  /** Milliseconds, for tests. */
  readonly now?: () => number;
}

const MISSING = "conntrack is not installed: UDP clients that keep their socket stay with endpoints that are gone";
const TOOL = "conntrack";
const INSTALL = "apt-get install conntrack";
const TIMEOUT_MS = 10_000;
/** Kinds of flows that are forgotten after one change: for each the tool reads the kernel's whole table (0.1 to 0.4 s where it has 30,000 flows). */
const MAX_FORGOTTEN = 1000;
/** The same where the tool takes one at a time, which is one process each. */
const MAX_ONE_BY_ONE = 100;

export function openFlowCleaner(options: FlowCleanerDeps): FlowCleaner & FlowRetry {
  const { family, tools, log } = options;
  const deps: Tools = { family, tools };
  const problems = tellOne(options.onProblem);
  const tool = watchForTool(options, problems.missing);
  const owed = openOwedFlows(problems.left, options.now);
  /** Every UDP frontend by its place. */
  let known = new Map<string, Frontend>();
  /** Forgets what is stale there; how many kinds of flows there were. */
  const clean = async (watched: readonly Watched[], signal: AbortSignal): Promise<number> => {
    if (watched.length === 0) return 0;
    owed.add(watched); // until it is done
    if (!(await tool.isThere(signal))) {
      owed.postpone();
      return 0;
    }
    try {
      const hostIps = watched.some(({ address }) => address === "") ? await hostAddresses(deps, signal) : NO_ADDRESSES;
      const surroundings = { hostIps, isFrontend: (place: string) => known.has(place) };
      const stale = staleFlows(await listFlows(deps, watched, signal), watched, surroundings);
      const left = await forget(deps, stale, signal);
      owed.done(watched, new Set(left.flatMap(({ port }) => [port, ANY_PORT])));
      if (left.length > 0) log.warn({ kindsOfFlows: left.length }, LEFT);
      return stale.length;
    } catch (cause) {
      if (cause === signal.reason) throw cause; // called off
      owed.failed();
      log.warn({ error: describeError(cause) }, LEFT);
      return 0;
    }
  };
  /** By what is known now: it may have changed since. */
  const dueNow = (): Watched[] =>
    owed.due().map((place) => {
      const frontend = known.get(placeOf({ ...place, protocol: "UDP" }));
      return frontend ? watchedNow(frontend) : { ...place, mayAnswer: NO_ADDRESSES, isGone: true };
    });
  const isOurs = (frontend: Frontend | undefined): boolean => frontend?.protocol === "UDP" && frontend.family === family;
  return {
    async afterChange(changes, signal) {
      const ours = changes.filter(({ previous, next }) => isOurs(next ?? previous));
      // First what goes: an address may have gone from one service to another.
      for (const { previous, next } of ours) if (previous && !next) known.delete(placeOf(previous));
      for (const { next } of ours) if (next) known.set(placeOf(next), next);
      await tool.need(known.size > 0, signal);
      return clean(ours.flatMap(watchedOf), signal);
    },
    async afterSync({ host, services }, signal) {
      const ours = frontendsOf(services.values(), family).filter(isOurs);
      const now = new Map(ours.map((one) => [placeOf(one), one]));
      const gone = [...known].flatMap(([place, previous]) => (now.has(place) ? [] : watchedOf({ previous, next: undefined })));
      known = now;
      await tool.need(known.size > 0, signal);
      // Whoever has no UDP services needs no tool for those that he may have had.
      const ranges =
        known.size > 0 || (await tools.has(TOOL)) ? host.serviceCidrs.filter((cidr) => parseCidr(cidr)?.family === family) : [];
      return clean([...gone, ...ours.map(watchedNow), ...ranges.map(watchedRange)], signal);
    },
    async retry(signal) {
      await clean(dueNow(), signal);
    },
  };
}

const NO_ADDRESSES: ReadonlySet<string> = new Set();

interface ToolWatch {
  isThere(signal: AbortSignal): Promise<boolean>;
  /** Whether there are frontends that need the tool. */
  need(isNeeded: boolean, signal: AbortSignal): Promise<void>;
}

/** Whether conntrack is there, and a problem while it is not and would be needed. It may be installed at any time. */
function watchForTool({ tools, log, lookEveryMs = 30_000 }: FlowCleanerDeps, onProblem: (problem: string | undefined) => void): ToolWatch {
  let isNeeded = false;
  let found: boolean | undefined;

  function report(): void {
    onProblem(found === false && isNeeded ? `${MISSING} (${INSTALL})` : undefined);
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
    async need(now, signal) {
      isNeeded = now;
      if (isNeeded) await isThere(signal);
      report();
    },
  };
}

type Tools = Pick<FlowCleanerDeps, "tools" | "family">;

/** One listing, of one place where only that changed. */
async function listFlows({ tools, family }: Tools, watched: readonly Watched[], signal: AbortSignal): Promise<string> {
  const [only] = watched;
  const address = only && only.address !== "" ? ["--orig-dst", only.address] : [];
  const narrow = watched.length === 1 && only && only.port !== ANY_PORT ? [...address, "--orig-port-dst", String(only.port)] : [];
  const { stdout } = await tools.run(TOOL, ["-L", ...udpOf(family), ...narrow], { signal, accept: [1], timeoutMs: TIMEOUT_MS });
  return stdout;
}

/** What is left of them: there is a limit to what one round may take. */
async function forget({ tools, family }: Tools, stale: readonly StaleFlow[], signal: AbortSignal): Promise<readonly StaleFlow[]> {
  const commands = stale.slice(0, MAX_FORGOTTEN).map((flow) => ["-D", ...udpOf(family), ...flowOf(flow)]);
  const end = performance.now() + TIMEOUT_MS;
  let done = commands.length > 1 && (await forgetAtOnce(tools, commands, signal)) ? commands.length : 0;
  const oneByOne = done > 0 ? [] : commands.slice(0, MAX_ONE_BY_ONE);
  for (const command of oneByOne) {
    const timeoutMs = Math.ceil(end - performance.now());
    if (timeoutMs <= 0) break;
    // 1 = there was nothing to delete any more.
    await tools.run(TOOL, command, { signal, accept: [1], timeoutMs });
    done++;
  }
  return stale.slice(done);
}

/** Commands from a file came with conntrack 1.4.7 (2022). */
async function forgetAtOnce(tools: KernelTools, commands: readonly (readonly string[])[], signal: AbortSignal): Promise<boolean> {
  const input = commands.map((command) => `${command.join(" ")}\n`).join("");
  const done = await tools.run(TOOL, ["-R", "-"], { input, signal, timeoutMs: TIMEOUT_MS }).catch(() => undefined);
  signal.throwIfAborted();
  return done !== undefined;
}

function udpOf(family: IpFamily): readonly string[] {
  return ["-f", family === "IPv4" ? "ipv4" : "ipv6", "-p", "udp"];
}

function flowOf({ address, port, reply }: StaleFlow): readonly string[] {
  const question = ["--orig-dst", address, "--orig-port-dst", String(port)];
  return reply ? [...question, "--reply-src", reply.address, "--reply-port-src", String(reply.port)] : question;
}

const Listing = z.array(z.looseObject({ addr_info: z.array(z.looseObject({ local: z.string().optional() })).default([]) }));

/** All of them, as they are now: a container bridge's too. Asked only when a UDP node port changed. */
async function hostAddresses({ tools, family }: Tools, signal: AbortSignal): Promise<ReadonlySet<string>> {
  const { stdout } = await tools.run("ip", ["-j", family === "IPv4" ? "-4" : "-6", "address"], { signal, timeoutMs: 5000 });
  const found = Listing.parse(JSON.parse(stdout.trim() === "" ? "[]" : stdout));
  const ips = found.flatMap(({ addr_info }) => addr_info.map(({ local = "" }) => parseIp(local)));
  return new Set(ips.filter((ip) => ip !== undefined).map(formatIp));
}
