import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { AppError, describeError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { HostTable } from "#agent/compile/table.ts";

/**
 * Settings of the kernel that the data plane needs. Set only where they are not right, and what they were is kept in the state folder, so that
 * cleanup can put it back.
 */

export interface Requirement {
  /** `net.ipv4.ip_forward`, or with slashes where a part has dots in it: `net/ipv6/conf/eth0.5/accept_ra`. */
  readonly name: string;
  readonly value: string;
  readonly why: string;
  /** Absent = for both. */
  readonly family?: IpFamily;
  /** Absent = always. */
  readonly neededBy?: (host: HostTable) => boolean;
  /** A kernel that does not have the setting is fine without it. */
  readonly mayLack?: boolean;
  /** A number, and a larger one is right as well. */
  readonly isLeast?: boolean;
}

const FORWARDED = "containers of this host, and whoever connects from elsewhere, reach other hosts' endpoints by being forwarded";
const IPV6_FORWARDING = "net.ipv6.conf.all.forwarding";

const REQUIREMENTS: readonly Requirement[] = [
  {
    // Docker gives FORWARD the policy DROP only if this was off when it started: an agent that starts first takes that away.
    name: "net.ipv4.ip_forward",
    value: "1",
    why: FORWARDED,
    family: "IPv4",
    neededBy: ({ localCidrs, forwards }) => forwards.includes("IPv4") || localCidrs.some((cidr) => !cidr.includes(":")),
  },
  {
    name: IPV6_FORWARDING,
    value: "1",
    why: FORWARDED,
    family: "IPv6",
    mayLack: true,
    neededBy: ({ localCidrs, serviceCidrs, forwards }) =>
      forwards.includes("IPv6") || [localCidrs, serviceCidrs].every((cidrs) => cidrs.some((cidr) => cidr.includes(":"))),
  },
];

export interface EnsureOptions {
  /** Absent = settings of both families. */
  readonly family?: IpFamily;
  /** What the driver needs besides. */
  readonly more?: readonly Requirement[];
}

export interface RestoreOptions {
  readonly dryRun: boolean;
  /** Absent = all; the others stay known, for a later one. Names are as in Requirement. */
  readonly only?: (name: string) => boolean;
}

export interface Sysctls {
  /** Sets what is not right; what it set, in words. */
  ensure(host: HostTable, options?: EnsureOptions): Promise<readonly string[]>;
  /** Puts back what any `ensure` changed, unless somebody else has changed it since. */
  restore(options: RestoreOptions): Promise<readonly string[]>;
}

export interface TunableSysctls extends Sysctls {
  /** Sets one that nothing depends on, if it is not right; what it set, in words, or undefined. */
  tune(wanted: Requirement): Promise<string | undefined>;
}

export interface SysctlsOptions {
  readonly stateDir: string;
  /** Besides those that every driver has. */
  readonly requirements?: readonly Requirement[];
  readonly procSys?: string;
}

const Kept = z.object({
  /** Settings do not outlive the kernel that they were made in. */
  boot: z.string(),
  // A damaged file must not lead to any other file.
  settings: z.record(z.string().regex(/^net[./][\w./-]+$/), z.object({ before: z.string().max(100), set: z.string().max(100) })),
});
type Settings = z.output<typeof Kept>["settings"];

/** Several may be open on one folder: their work on its file is done one after the other. */
export function openSysctls({ stateDir, requirements = [], procSys = "/proc/sys" }: SysctlsOptions): TunableSysctls {
  const file = join(stateDir, "sysctls.json");
  return {
    ensure: (host, { family, more = [] } = {}) =>
      inTurn(file, async () => {
        const kernel = kernelOf(procSys);
        const needed = [...REQUIREMENTS, ...requirements, ...more].filter(
          (one) => (one.family === undefined || family === undefined || one.family === family) && (one.neededBy?.(host) ?? true),
        );
        const changed: string[] = [];
        for (const one of needed)
          for (const step of (await isWrong(kernel, one)) ? [...(await preparations(kernel, one)), one] : [])
            changed.push(await set(kernel, file, step));
        return changed;
      }),
    tune: (wanted) =>
      inTurn(file, async () => {
        const kernel = kernelOf(procSys);
        return (await isWrong(kernel, wanted)) ? set(kernel, file, wanted) : undefined;
      }),
    restore: ({ dryRun, only = () => true }) =>
      inTurn(file, async () => {
        const kernel = kernelOf(procSys);
        const restored: string[] = [];
        const kept = Object.entries(await keptIn(file, kernel));
        const stay = kept.filter(([name]) => !only(name));
        // The last one first, as things were made.
        for (const [name, { before, set }] of kept.filter(([name]) => only(name)).toReversed()) {
          if ((await kernel.read(name)) !== set) continue;
          if (!dryRun) await kernel.write(name, before);
          restored.push(`sysctl ${name} back to ${before}`);
        }
        if (!dryRun && stay.length === 0) await rm(file, { force: true });
        else if (!dryRun && stay.length < kept.length) await keep(file, kernel, Object.fromEntries(stay));
        return restored;
      }),
  };
}

interface Kernel {
  /** undefined where the kernel has no such setting. */
  read(name: string): Promise<string | undefined>;
  write(name: string, value: string): Promise<void>;
  interfaces(): Promise<readonly string[]>;
}

function kernelOf(procSys: string): Kernel {
  const pathOf = (name: string): string => join(procSys, ...name.split(name.includes("/") ? "/" : ".").filter((part) => part !== ".."));
  return {
    read: (name) =>
      readFile(pathOf(name), "utf8").then(
        (text) => text.trim(),
        () => undefined,
      ),
    write: (name, value) => writeFile(pathOf(name), value),
    interfaces: () => readdir(join(procSys, "net/ipv6/conf")).catch(() => []),
  };
}

async function isWrong(kernel: Kernel, { name, value, why, mayLack = false, isLeast = false }: Requirement): Promise<boolean> {
  const found = await kernel.read(name);
  if (found === undefined && !mayLack)
    throw new AppError("KernelRejected", `the kernel has no setting ${name}: ${why}`, { hint: "is the kernel's module for it loaded?" });
  return found !== undefined && (isLeast ? Number(found) < Number(value) : found !== value);
}

/** Interfaces on which only containers and virtual machines could advertise themselves as routers. */
const OF_CONTAINERS = /^((lo|all|default)$|br-[0-9a-f]{12}$|docker|veth|vnet|tap|podman|cni|virbr|lxdbr|incusbr|cali|flannel)/;

/**
 * A kernel that forwards ignores router advertisements where accept_ra is 1, and a host that has its address and its default route from them would lose
 * both: 2 means to go on listening. Where it is 0, somebody else (systemd-networkd, NetworkManager) does that, or nobody shall.
 */
async function preparations(kernel: Kernel, { name }: Requirement): Promise<readonly Requirement[]> {
  if (name !== IPV6_FORWARDING) return [];
  const found: Requirement[] = [];
  for (const device of (await kernel.interfaces()).toSorted()) {
    const setting = `net/ipv6/conf/${device}/accept_ra`;
    if (OF_CONTAINERS.test(device) || (await kernel.read(setting)) !== "1") continue;
    found.push({ name: setting, value: "2", why: `this host shall go on learning its routes from ${device} while it forwards` });
  }
  return found;
}

async function set(kernel: Kernel, file: string, { name, value, why }: Requirement): Promise<string> {
  const found = (await kernel.read(name)) ?? "";
  const settings = await keptIn(file, kernel);
  // Before it is changed, and the oldest value wins.
  await keep(file, kernel, { ...settings, [name]: { before: settings[name]?.before ?? found, set: value } });
  await kernel.write(name, value).catch((cause: unknown) => {
    throw new AppError("KernelRejected", `${name} is ${found} and cannot be set to ${value} (${describeError(cause)}): ${why}`, {
      hint: `run: sysctl -w ${name}=${value}`,
      cause,
    });
  });
  return `${name}=${value} (was ${found})`;
}

async function keptIn(file: string, kernel: Kernel): Promise<Settings> {
  const text = await readFile(file, "utf8").catch(() => "{}");
  const { data } = Kept.safeParse(parseJson(text));
  return data?.boot === (await bootOf(kernel)) ? data.settings : {};
}

async function keep(file: string, kernel: Kernel, settings: Settings): Promise<void> {
  await mkdir(join(file, ".."), { recursive: true, mode: 0o700 });
  await writeFile(`${file}.new`, `${JSON.stringify({ boot: await bootOf(kernel), settings })}\n`, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

async function bootOf(kernel: Kernel): Promise<string> {
  return (await kernel.read("kernel.random.boot_id")) ?? "";
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {}; // a file cut short by a power failure: what it said is lost, and nothing is put back
  }
}

/** What is being done to each file; an entry goes with its last piece of work. */
const underWay = new Map<string, Promise<unknown>>();

async function inTurn<Result>(file: string, work: () => Promise<Result>): Promise<Result> {
  const before = underWay.get(file) ?? Promise.resolve();
  const mine = before.then(work, work);
  underWay.set(file, mine);
  try {
    return await mine;
  } finally {
    if (underWay.get(file) === mine) underWay.delete(file);
  }
}
