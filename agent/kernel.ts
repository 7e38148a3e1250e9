import { backoffMs, pause } from "#proto/backoff.ts";
import type { Client } from "#proto/client.ts";
import { describeError } from "#proto/error.ts";
import type { AgentConfig } from "./agent-config.ts";
import type { DataplaneDriver } from "./dataplane/driver.ts";
import type { KernelTools } from "./dataplane/exec.ts";
import { dataplaneLoop } from "./dataplane/loop.ts";
import type { TableMailbox } from "./dataplane/mailbox.ts";
import { selectDriver } from "./dataplane/select.ts";
import type { Trouble } from "./trouble.ts";

const VERIFY_EVERY_MS = 150; // a repair is promised within a second, of which it takes 0.8 s itself at 10,000 services
/** Somebody who fights with us for the rules makes one Event in a while. */
const TELL_EVERY_MS = 10_000;

export interface KernelDeps {
  readonly config: AgentConfig;
  readonly mailbox: TableMailbox;
  readonly tools: KernelTools;
  readonly trouble: Trouble;
  readonly client: Client;
  readonly applied: (revision: number) => void;
  readonly begin: () => void;
}

/** A kernel tool that is missing or fails is reported and tried again: it may be installed, and DNS and heartbeats go on meanwhile. */
export async function programKernel(
  { config, mailbox, tools, trouble, client, applied, begin }: KernelDeps,
  signal: AbortSignal,
): Promise<void> {
  const { dataplane, stateDir, log } = config;
  let toldAt = -Infinity;
  for (let failures = 0; !signal.aborted; failures++) {
    let driver: DataplaneDriver | undefined;
    try {
      driver = await selectDriver({ dataplane, stateDir, log, tools, onProblem: (problem) => trouble.set("UDP", problem) }, signal);
      trouble.set("data plane", undefined);
      if (failures > 0) begin();
      const onDrift = (missing: readonly string[]): void => {
        if (performance.now() - toldAt < TELL_EVERY_MS) return;
        toldAt = performance.now();
        void tellOfDrift(client, config, missing, signal);
      };
      const onFailure = (error: Error | undefined): void => trouble.set("data plane", error);
      await dataplaneLoop({ driver, mailbox, verifyIntervalMs: VERIFY_EVERY_MS, log, onApplied: applied, onDrift, onFailure }, signal);
    } catch (error) {
      if (isOver(signal)) return;
      if (failures === 0) log.error({ error: describeError(error) }, "the data plane cannot work here yet; trying on");
      trouble.set("data plane", error);
      await pause(backoffMs(failures + 1, Math.random(), { baseMs: 1000, maxMs: 30_000 }), signal);
    } finally {
      driver?.close();
    }
  }
}

/** An Event for people; the repair does not wait for it, and a server that is down does not hear of it. */
async function tellOfDrift(
  client: Client,
  { membership, log }: AgentConfig,
  missing: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const at = new Date().toISOString();
  const { node } = membership;
  try {
    await client.create(
      "Event",
      {
        apiVersion: "v1",
        kind: "Event",
        metadata: { name: `${node}.${Date.now().toString(16)}`, namespace: "default" },
        involvedObject: { kind: "Node", name: node },
        reason: "RulesRepaired",
        message: `somebody else removed or changed rules of this host, and they were put back: ${missing.join(", ")}`.slice(0, 1024),
        type: "Warning",
        source: { component: "fairlead-agent", host: node },
        firstTimestamp: at,
        lastTimestamp: at,
        count: 1,
      },
      { signal },
    );
  } catch (error) {
    log.info({ error: describeError(error) }, "the server was not told of the repair");
  }
}

function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}
