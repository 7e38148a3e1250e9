import { readFile } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { ForwardingTable, ServiceChange } from "#agent/compile/table.ts";
import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import { dataplaneLoop } from "#agent/dataplane/loop.ts";
import { createTableMailbox } from "#agent/dataplane/mailbox.ts";
import { waitFor } from "../wait-for.ts";
import type { Mode } from "./modes.ts";
import { changeOf, tableOf } from "./ten-thousand.ts";
import { cpuMs } from "./usage.ts";

export interface ChurnRequest {
  readonly mode: Mode;
  readonly services: number;
  readonly perSecond: number;
  readonly seconds: number;
}

export interface Churned {
  /** From the change until the kernel held it, in ms. */
  readonly lagMs: readonly number[];
  /** Of one processor, the tools included, from the first change until the last was applied. */
  readonly cpuShare: number;
  readonly failures: readonly string[];
}

/** Changes of one endpoint each, at a steady pace, through mailbox, loop and driver as the agent has them. */
export async function churn({ mode, services, perSecond, seconds }: ChurnRequest, driver: DataplaneDriver): Promise<Churned> {
  const end = new AbortController();
  const mailbox = createTableMailbox();
  const putAt = new Map<number, number>();
  const lagMs: number[] = [];
  const failures: string[] = [];
  let applied = 0;
  await driver.probe(end.signal);
  const loop = dataplaneLoop(
    {
      driver,
      mailbox,
      verifyIntervalMs: () => 150,
      log: { info: () => undefined, warn: () => undefined, error: () => undefined },
      onApplied: (revision) => {
        for (let at = applied + 1; at <= revision; at++) lagMs.push(performance.now() - (putAt.get(at) ?? NaN));
        applied = revision;
      },
      onDrift: (missing) => failures.push(`rules taken for lost: ${missing.join(", ")}`),
      onFailure: (error) => error && failures.push(error.message),
    },
    end.signal,
  );
  const put = (revision: number, changes: readonly ServiceChange[], table?: ForwardingTable): void => {
    putAt.set(revision, performance.now());
    mailbox.put({ revision, table, changes });
  };
  put(1, [], tableOf(services));
  await waitFor(() => applied === 1, { what: "the first program", timeoutMs: 900_000 });
  lagMs.length = 0;
  const startedAt = performance.now();
  const cpuBefore = await cpuMs(process.pid);
  const count = perSecond * seconds;
  for (let round = 1; round <= count; round++) {
    const dueAt = startedAt + (round * 1000) / perSecond;
    if (dueAt > performance.now()) await delay(dueAt - performance.now());
    put(1 + round, [changeOf(round, services)]);
  }
  await waitFor(() => applied === 1 + count, { what: "the last change", timeoutMs: 300_000 });
  const cpuShare = ((await cpuMs(process.pid)) - cpuBefore) / (performance.now() - startedAt);
  if (mode === "ipvs")
    await waitFor(nothingDrains, { what: "the endpoints that went to be idle and go", timeoutMs: 180_000, intervalMs: 1_000 });
  end.abort();
  await loop;
  driver.close();
  return { lagMs, cpuShare, failures };
}

/** `-> REMOTE FORWARD WEIGHT …`: one that its service needs no more has weight 0 until IPVS knows of no connection there. */
async function nothingDrains(): Promise<boolean> {
  return !/^ +-> \S+ +\S+ +0 /m.test(await readFile("/proc/net/ip_vs", "utf8"));
}
