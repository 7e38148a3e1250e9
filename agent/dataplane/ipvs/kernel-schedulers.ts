import { AppError } from "#proto/error.ts";
import type { Frontend } from "#agent/compile/table.ts";
import type { DriverDeps } from "../driver.ts";
import { hasHashedAffinity } from "./legs.ts";
import { HASHES, isScheduler } from "./schedulers.ts";
import { tryScheduler } from "./trials.ts";

/** Which schedulers the kernel has: each is asked for once, when somebody wants it. */
export interface Schedulers {
  /** The probe has found the two that the driver chooses by itself. */
  hasOwn(): void;
  /** Asks the kernel for each that it was not asked for. */
  learn(frontends: readonly Frontend[], signal: AbortSignal): Promise<void>;
  readonly has: (name: string) => boolean;
  /** A module may have been installed since. */
  forgetMissing(): void;
}

const OWN = ["rr", "wrr"];

export function openSchedulers({ tools, family, log }: Pick<DriverDeps, "tools" | "family" | "log">): Schedulers {
  const known = new Map<string, boolean>();
  const told = new Set<string>();
  const tell = (id: string, problem: string): void => {
    if (told.size > 1000 || told.has(problem)) return;
    told.add(problem);
    log.warn({ service: id }, problem);
  };
  return {
    hasOwn: () => OWN.forEach((name) => known.set(name, true)),
    has: (name) => known.get(name) ?? false,
    forgetMissing: () => {
      for (const [name, isThere] of known) if (!isThere) known.delete(name);
    },
    async learn(frontends, signal) {
      const asked = new Map(frontends.flatMap(({ scheduler, id }) => (scheduler === undefined ? [] : [[scheduler, id] as const])));
      for (const scheduler of OWN) {
        if (known.has(scheduler)) continue;
        const why = await tryScheduler(tools, { family, scheduler }, signal);
        if (why !== undefined)
          throw new AppError("KernelRejected", `the kernel has no virtual servers: ${why}`, { hint: `modprobe ip_vs_${scheduler}` });
        known.set(scheduler, true);
      }
      for (const [scheduler, id] of asked) {
        if (!isScheduler(scheduler))
          tell(id, `there is no scheduler ${JSON.stringify(scheduler.slice(0, 40))}: rr, or wrr where weights differ, takes its place`);
        else if (!known.has(scheduler)) {
          const why = await tryScheduler(tools, { family, scheduler }, signal);
          known.set(scheduler, why === undefined);
          if (why !== undefined)
            tell(
              id,
              `the kernel has no scheduler ${scheduler} (module ip_vs_${scheduler}): rr, or wrr where weights differ, takes its place`,
            );
        }
      }
      const hashed = frontends.find(hasHashedAffinity);
      for (const scheduler of hashed ? HASHES : [])
        if (!known.has(scheduler)) known.set(scheduler, (await tryScheduler(tools, { family, scheduler }, signal)) === undefined);
      if (hashed && !HASHES.some((scheduler) => known.get(scheduler)))
        tell(hashed.id, "the kernel has no ip_vs_mh and no ip_vs_sh: there is no affinity where it has no timeout");
    },
  };
}
