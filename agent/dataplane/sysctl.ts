import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { AppError } from "#proto/error.ts";
import type { HostTable } from "#agent/compile/table.ts";

/**
 * Settings of the kernel that the data plane needs. Set only where they are not right, and what they were is kept in the state folder, so that
 * cleanup can put it back.
 */

interface Requirement {
  readonly name: string;
  readonly value: string;
  readonly why: string;
  readonly neededBy: (host: HostTable) => boolean;
}

const REQUIREMENTS: readonly Requirement[] = [
  {
    // Docker gives FORWARD the policy DROP only if this was off when it started: an agent that starts first takes that away.
    name: "net.ipv4.ip_forward",
    value: "1",
    why: "containers of this host reach virtual IPs by being forwarded",
    neededBy: (host) => host.localCidrs.length > 0,
  },
];

const Kept = z.record(z.string(), z.string());

export interface Sysctls {
  /** Sets what is not right; the names of what it set. */
  ensure(host: HostTable): Promise<readonly string[]>;
  /** Puts back what `ensure` changed, unless somebody else has changed it since. */
  restore(options: { readonly dryRun: boolean }): Promise<readonly string[]>;
}

export function openSysctls({ stateDir, procSys = "/proc/sys" }: { readonly stateDir: string; readonly procSys?: string }): Sysctls {
  const file = join(stateDir, "sysctls.json");
  const pathOf = (name: string): string => join(procSys, ...name.split("."));
  const read = async (name: string): Promise<string> => (await readFile(pathOf(name), "utf8")).trim();
  const kept = async (): Promise<z.output<typeof Kept>> => {
    const text = await readFile(file, "utf8").catch(() => "{}");
    return Kept.safeParse(parseJson(text)).data ?? {};
  };
  const keep = async (values: z.output<typeof Kept>): Promise<void> => {
    if (Object.keys(values).length === 0) return rm(file, { force: true });
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    await writeFile(`${file}.new`, `${JSON.stringify(values)}\n`, { mode: 0o600 });
    await rename(`${file}.new`, file);
  };
  return {
    async ensure(host) {
      const changed: string[] = [];
      for (const { name, value, why, neededBy } of REQUIREMENTS) {
        if (!neededBy(host)) continue;
        const found = await read(name);
        if (found === value) continue;
        await keep({ [name]: found, ...(await kept()) }); // before it is changed, and the oldest value wins
        await writeFile(pathOf(name), value).catch((cause: unknown) => {
          throw new AppError("KernelRejected", `${name} is ${found} and cannot be set to ${value}: ${why}`, {
            hint: `run: sysctl -w ${name}=${value}`,
            cause,
          });
        });
        changed.push(`${name}=${value} (was ${found})`);
      }
      return changed;
    },
    async restore({ dryRun }) {
      const restored: string[] = [];
      for (const [name, before] of Object.entries(await kept())) {
        const ours = REQUIREMENTS.find((requirement) => requirement.name === name);
        if (!ours || (await read(name)) !== ours.value) continue;
        if (!dryRun) await writeFile(pathOf(name), before);
        restored.push(`sysctl ${name} back to ${before}`);
      }
      if (!dryRun) await keep({});
      return restored;
    },
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {}; // a file cut short by a power failure: what it said is lost, and nothing is put back
  }
}
