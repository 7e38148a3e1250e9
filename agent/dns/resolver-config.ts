import { mkdir, readFile, readlink, rename, rmdir, unlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { AppError, isAppError } from "#proto/error.ts";
import { parseResolvConf, RESOLV_CONF_BACKUP } from "./upstreams.ts";

/** How programs on this host resolve names, and the one line that makes them ask us. */
export interface ResolverDescription {
  /** `resolved`: systemd-resolved runs and the host asks it. `resolved-unused`: it runs, but /etc/resolv.conf leads elsewhere. `file`: no resolver. */
  readonly kind: "resolved" | "resolved-unused" | "file";
  readonly summary: string;
  readonly line: string;
}

export interface ResolverDeps {
  readonly tools: KernelTools;
  /** Our address on this host: HOST_LOCAL_ADDRESS. */
  readonly address: string;
  /** The DNS service's virtual IP, which containers reach, too. */
  readonly dnsIp: string;
  /** `cluster.local` */
  readonly domain: string;
  /** `/`, or another folder in tests. */
  readonly root?: string | undefined;
}

const DROP_IN = "etc/systemd/resolved.conf.d/fairlead.conf";
const RESOLV_CONF = "etc/resolv.conf";
const UNIT = "systemd-resolved.service";
const MARK = "# Made by fairlead agent --configure-resolver; `fairlead agent cleanup` removes it.";
const MADE_FOLDER = "# The folder was made with it.";
const STUBS = ["127.0.0.53", "127.0.0.54"];

/** The line for a host without a resolver of its own: README's, too. A copy that is there is older than our own line, and stays. */
export function resolvConfLine(dnsIp: string): string {
  return `test -e ${RESOLV_CONF_BACKUP} || sudo cp -L /etc/resolv.conf ${RESOLV_CONF_BACKUP}; echo nameserver ${dnsIp} | sudo tee /etc/resolv.conf`;
}

/** The way back. It writes into the file, as the line did: it may be a link, or mounted. */
export const RESOLV_CONF_UNDO = `sudo cp ${RESOLV_CONF_BACKUP} /etc/resolv.conf && sudo rm ${RESOLV_CONF_BACKUP}`;

export async function describeResolver({ tools, address, dnsIp, domain, root = "/" }: ResolverDeps): Promise<ResolverDescription> {
  const path = join(root, RESOLV_CONF);
  const [text, link] = await Promise.all([readFile(path, "utf8").catch(() => ""), readlink(path).catch(() => undefined)]);
  const leads = link === undefined ? "/etc/resolv.conf" : `/etc/resolv.conf (a link to ${link})`;
  const isStub = parseResolvConf(text).some((server) => STUBS.includes(server));
  if (!(await isResolvedActive(tools)))
    return {
      kind: "file",
      summary: `${leads} is read by each program; systemd-resolved does not run`,
      line: resolvConfLine(dnsIp),
    };
  if (!isStub)
    return {
      kind: "resolved-unused",
      summary: `systemd-resolved runs, but ${leads} does not lead to it`,
      line: `sudo ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf   # then start the agent with --configure-resolver`,
    };
  return {
    kind: "resolved",
    summary: `systemd-resolved answers at 127.0.0.53, which ${leads} names`,
    line: `sudo mkdir -p /etc/systemd/resolved.conf.d && printf '[Resolve]\\nDNS=${address}\\nDomains=~${domain}\\n' | sudo tee /${DROP_IN} && sudo systemctl reload-or-restart ${UNIT}`,
  };
}

/** Makes systemd-resolved ask us for the names of the domain. "unchanged" = it does already. */
export async function configureResolver(deps: ResolverDeps): Promise<"changed" | "unchanged"> {
  const { tools, address, domain, root = "/" } = deps;
  const { kind, summary, line } = await describeResolver(deps);
  if (kind !== "resolved")
    throw new AppError("ServiceUnavailable", `--configure-resolver works only where systemd-resolved answers for the host: ${summary}`, {
      hint: `configure the host yourself: ${line}`,
    });
  const path = join(root, DROP_IN);
  const before = await readIfThere(path);
  if (before !== undefined && !before.startsWith(MARK))
    throw new AppError("Conflict", `/${DROP_IN} exists and is not ours, so it stays as it is`, {
      hint: "rename it, or start without --configure-resolver",
    });
  const madeFolder = before === undefined ? (await mkdir(dirname(path), { recursive: true })) !== undefined : before.includes(MADE_FOLDER);
  // ~: ask us for these names, and do not take the domain as a search suffix. Without it resolved refuses *.local without asking anybody.
  const text = [MARK, ...(madeFolder ? [MADE_FOLDER] : []), "[Resolve]", `DNS=${address}`, `Domains=~${domain}`, ""].join("\n");
  if (text === before) return "unchanged";
  await writeFile(`${path}.new`, text, { mode: 0o644 });
  await rename(`${path}.new`, path);
  await tools.run("systemctl", ["reload-or-restart", UNIT]);
  return "changed";
}

/** Undoes configureResolver: afterwards /etc is as it was before. Works whether resolved runs or not. */
export async function unconfigureResolver({ tools, root = "/" }: Pick<ResolverDeps, "tools" | "root">): Promise<"changed" | "unchanged"> {
  const path = join(root, DROP_IN);
  const text = await readIfThere(path);
  if (text?.startsWith(MARK) !== true) return "unchanged";
  await unlink(path);
  // Not empty = somebody else has put something there meanwhile.
  if (text.includes(MADE_FOLDER)) await rmdir(dirname(path)).catch(() => undefined);
  if (await isResolvedActive(tools)) await tools.run("systemctl", ["reload-or-restart", UNIT]);
  return "changed";
}

/** Whether our drop-in is there. Only looks. */
export async function isResolverConfigured({ root = "/" }: Pick<ResolverDeps, "root"> = {}): Promise<boolean> {
  return (await readIfThere(join(root, DROP_IN)))?.startsWith(MARK) === true;
}

export interface ResolvConfCheck {
  /** Our addresses, as far as they are known. */
  readonly own: readonly string[];
  /** Whom the host named before us. */
  readonly known: readonly string[];
  /** Whether `own` is complete: a host that has left its fleet does not know the fleet's addresses any more. */
  readonly isKnownHost: boolean;
  readonly root?: string | undefined;
}

/** What is wrong when the host's file still names us and we go. The file is the user's, so only they change it. Only looks. */
export async function resolvConfFault({ own, known, isKnownHost, root = "/" }: ResolvConfCheck): Promise<AppError | undefined> {
  const read = async (path: string): Promise<string[]> => parseResolvConf((await readIfThere(join(root, path))) ?? "");
  const [servers, copied] = await Promise.all([read(RESOLV_CONF), read(RESOLV_CONF_BACKUP)]);
  const before = copied.filter((server) => !own.includes(server));
  const isOurs = (server: string): boolean => own.includes(server) || (!isKnownHost && before.length > 0 && !before.includes(server));
  const ours = servers.filter(isOurs);
  if (ours.length === 0) return undefined;
  const lines = known.map((server) => `nameserver ${server}\\n`).join("");
  return new AppError("KernelRejected", `/etc/resolv.conf still names ${ours.join(", ")}, where nobody answers without the agent`, {
    hint:
      before.length > 0
        ? `put back what stood there: ${RESOLV_CONF_UNDO}`
        : known.length > 0
          ? `put back whom it named before: printf '${lines}' | sudo tee /etc/resolv.conf`
          : "put your network's own name servers there (`nameserver ADDRESS`); this host resolves no names until then",
  });
}

async function isResolvedActive(tools: KernelTools): Promise<boolean> {
  try {
    const { exitCode } = await tools.run("systemctl", ["is-active", "--quiet", UNIT], { accept: [1, 3, 4], timeoutMs: 5000 });
    return exitCode === 0;
  } catch (error) {
    if (isAppError(error, "KernelRejected")) return false; // no systemctl here
    throw error;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
