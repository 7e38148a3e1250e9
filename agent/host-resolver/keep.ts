import { readFile } from "node:fs/promises";
import type { Logger } from "pino";
import { backoffMs, pause } from "#proto/backoff.ts";
import { describeError } from "#proto/error.ts";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { giveBackFile, RESOLV_CONF_FILE, saveOriginal, stateOfFile, takeFile } from "./file.ts";
import { addToResolvconf, installDnsmasq, removeFromResolvconf } from "./others.ts";
import { applyLink, isLinkKept, type LinkSettings } from "./link.ts";
import { addressAsked, type Records, type ResolverRecord } from "./record.ts";
import { createAnswerWatch } from "./answer-watch.ts";
import { namesOthers, nextStep } from "./resolv-conf.ts";
import { lookAtResolver } from "./look.ts";
import { parseResolvConf } from "#agent/dns/upstreams.ts";
import { HOST_LOCAL_ADDRESS } from "#agent/dns/places.ts";

/** Keeps what `fairlead dns install` has written down, while the agent answers. A look each second costs a few reads of files and starts no program. */

const CHECK_MS = 1000;
const LOOK_FOR_ANSWERS_MS = 100;

export interface KeepDeps {
  readonly tools: KernelTools;
  readonly records: Records;
  /** As the fleet is now: the record may be from before it changed. */
  readonly settings: LinkSettings;
  /** Whether questions are answered where the host would ask: it is told to only then. */
  readonly isAnswering: (address: string) => boolean;
  /** The host's file, and how long nobody may answer; others in tests. */
  readonly path?: string | undefined;
  readonly silentMs?: number | undefined;
  readonly log: Pick<Logger, "info" | "warn">;
  /** undefined = all is well. */
  readonly onTrouble: (trouble: unknown) => void;
}

/** Until the signal. Then, and while we do not answer, /etc/resolv.conf is the host's own again: names of others go on without us. */
export async function keepResolver(deps: KeepDeps, signal: AbortSignal): Promise<void> {
  const { log, onTrouble } = deps;
  const round = createRound(deps, signal);
  let failures = 0;
  while (!signal.aborted) {
    let waitMs = CHECK_MS;
    try {
      const { trouble, isAnswering } = await round();
      onTrouble(trouble);
      failures = 0;
      if (!isAnswering) waitMs = LOOK_FOR_ANSWERS_MS;
    } catch (error) {
      if (isEnded(signal)) break;
      if (failures++ === 0) log.warn({ error: describeError(error) }, "the host's resolver does not ask this agent");
      onTrouble(error);
      waitMs = backoffMs(failures, Math.random(), { baseMs: CHECK_MS / 2, maxMs: 5_000 });
    }
    await pause(waitMs, signal);
  }
  await giveBackAtEnd(deps);
}

interface Round {
  readonly trouble: string | undefined;
  readonly isAnswering: boolean;
}

/** One look: a host that would ask somebody who does not answer has no names at all, so it gets its own servers back. */
function createRound(deps: KeepDeps, signal: AbortSignal): () => Promise<Round> {
  const { records, settings, isAnswering, log, silentMs } = deps;
  const keeper = createKeeper(deps);
  const watch = createAnswerWatch(silentMs);
  let isGivenBack = false;
  return async () => {
    const record = await records.read();
    if (!record) return { trouble: undefined, isAnswering: true };
    const state = watch(isAnswering(addressAsked({ kind: record.kind, server: settings.server })), performance.now());
    if (state === "answers") {
      isGivenBack = false;
      return { trouble: await keeper.keep(record, signal), isAnswering: true };
    }
    if (state === "silent" && !isGivenBack) {
      if (await giveBack(deps, record)) log.warn({}, "/etc/resolv.conf is the host's own again: this agent does not answer");
      isGivenBack = true;
    }
    return { trouble: isGivenBack ? "nobody answers where this host would ask this agent" : undefined, isAnswering: false };
  };
}

async function giveBackAtEnd(deps: KeepDeps): Promise<void> {
  try {
    const record = await deps.records.read();
    if (record && (await giveBack(deps, record))) deps.log.info("/etc/resolv.conf is the host's own again");
  } catch (error) {
    deps.log.warn({ error: describeError(error) }, "/etc/resolv.conf still names this agent, which ends");
  }
}

/** Whether the file has changed by it. */
async function giveBack({ tools, path }: KeepDeps, record: ResolverRecord): Promise<boolean> {
  if (record.kind === "resolvconf") await removeFromResolvconf(tools);
  return record.kind === "file" && (await giveBackFile({ path }, record)) === "changed";
}

/** A function call, so that what it said before is not taken for granted behind an await. */
function isEnded(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** One look, and what follows from it. Returns what is wrong and is not for us to put right. */
function createKeeper({ tools, records, settings, path = RESOLV_CONF_FILE, log }: KeepDeps): {
  keep(record: ResolverRecord, signal: AbortSignal): Promise<string | undefined>;
} {
  let fingerprint = "";
  let seen: string | undefined;
  const taken: number[] = [];

  async function keepLink(signal: AbortSignal): Promise<undefined> {
    if (await isLinkKept(settings.server, fingerprint)) return;
    const isFirst = fingerprint === "";
    fingerprint = await applyLink(settings, tools, signal);
    log.info(
      settings,
      isFirst
        ? "systemd-resolved asks this agent for the names of the fleet"
        : "systemd-resolved had lost its link to this agent; it has it again",
    );
  }

  /** The fleet's DNS address is another now. */
  async function follow(record: ResolverRecord): Promise<void> {
    if (record.kind === "file") await giveBackFile({ path }, record);
    const file = record.kind === "file" ? { file: await saveOriginal({ records, path }, settings.server) } : {};
    await records.write({ ...record, ...settings, moreZones: [...settings.moreZones], ...file });
    if (record.kind === "dnsmasq") await installDnsmasq({ tools }, settings);
  }

  /** Whoever writes the file may not be done: only what names somebody, and is the same at two looks, replaces the original that we have. */
  async function adopt(record: ResolverRecord): Promise<string | undefined> {
    const text = await readFile(path, "utf8").catch(() => "");
    const isSettled = text === seen;
    seen = text;
    if (!isSettled) return undefined;
    if (!namesOthers(text, settings.server))
      return `${RESOLV_CONF_FILE} was rewritten by somebody else and names nobody: it is left as it is`;
    taken.push(Date.now());
    const next = {
      ...record,
      ...settings,
      moreZones: [...settings.moreZones],
      file: await saveOriginal({ records, path }, settings.server, text),
    };
    await records.write(next);
    await takeFile({ path }, next);
    log.info("somebody has written /etc/resolv.conf anew: that is its original now, and it names this agent again");
    return undefined;
  }

  async function keepFile(record: ResolverRecord): Promise<string | undefined> {
    const state = await stateOfFile({ path }, record);
    switch (nextStep(state, taken, Date.now())) {
      case "nothing":
        return undefined;
      case "write":
        await takeFile({ path }, record);
        log.info("/etc/resolv.conf names this agent");
        return undefined;
      case "adopt":
        return adopt(record);
      case "report":
        if (state === "elsewhere")
          return `${RESOLV_CONF_FILE} leads to another file than when it was taken, which is left as it is: \`fairlead dns install\` says what can be done now`;
        return `${RESOLV_CONF_FILE} was rewritten by somebody else${state === "names us" ? ", and names us beside others or in other words" : ", again and again"}: it is left as it is; \`fairlead dns status\` says more, \`fairlead dns install --write\` takes it again`;
    }
  }

  async function keepResolvconf(): Promise<string | undefined> {
    const text = await readFile(RESOLV_CONF_FILE, "utf8").catch(() => "");
    if (parseResolvConf(text).includes(HOST_LOCAL_ADDRESS)) return undefined;
    if (nextStep("others'", taken, Date.now()) === "report")
      return "resolvconf does not list this agent, though it was told to: see `fairlead dns status`";
    taken.push(Date.now());
    const { resolvconf = "debian" } = await lookAtResolver({ tools });
    await addToResolvconf(tools, resolvconf, text);
    return undefined;
  }

  return {
    async keep(record, signal) {
      if (record.server !== settings.server || record.domain !== settings.domain) {
        // An original is saved only from what was ours or given back; the rest is judged as ever.
        if (record.kind === "file" && ["others'", "elsewhere"].includes(await stateOfFile({ path }, record))) return keepFile(record);
        await follow(record);
        return undefined; // the next look does what there is to do
      }
      switch (record.kind) {
        case "resolved":
          return keepLink(signal);
        case "file":
          return keepFile(record);
        case "resolvconf":
          return keepResolvconf();
        case "dnsmasq":
          return undefined; // its drop-in is a file that stays
      }
    },
  };
}
