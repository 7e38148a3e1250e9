import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { isAppError } from "#proto/error.ts";
import { RESOLV_CONF_FILE } from "./file.ts";
import { MARK_PATTERN } from "./resolv-conf.ts";

/**
 * A boot always begins with the host's own file, and the agent takes it again when it answers: so nothing has to find out whether an agent will run. A unit
 * that needs neither us nor Node, and is ordered against no resolver (systemd-resolved is before sysinit.target: a cycle would drop it silently).
 */
export const BOOT_UNIT = "fairlead-resolv-conf.service";
/** Where anybody can write at that time. */
const DRAFT = "/run/fairlead-resolv-conf";
const UNIT_FILE = `/etc/systemd/system/${BOOT_UNIT}`;

export interface BootFiles {
  readonly oursFile: string;
  /** The original, and its second copy. */
  readonly backup: string;
  readonly copy: string;
}

/**
 * Pure. Ours is known by its first line: where somebody has added another, it still names nobody but an agent that is not there yet, and what was added stays
 * beside the original. Without variables: systemd would put in its own.
 */
export function renderBootUnit({ oursFile, backup, copy }: BootFiles): string {
  const isOurs = `head -n 1 ${RESOLV_CONF_FILE} | grep -q "${MARK_PATTERN}"`;
  const original = (saved: string): string =>
    `{ grep -vxFf ${oursFile} ${RESOLV_CONF_FILE}; cat ${saved}; } >${DRAFT} && cat ${DRAFT} >${RESOLV_CONF_FILE}; rm -f ${DRAFT}`;
  const putBack = `if test -f ${backup}; then ${original(backup)}; elif test -f ${copy}; then ${original(copy)}; fi`;
  return `# Made by \`fairlead dns install --write\`; \`fairlead dns uninstall\` removes it.
[Unit]
Description=The host's own ${RESOLV_CONF_FILE}, until Fairlead's agent answers for it again
DefaultDependencies=no
After=local-fs.target systemd-remount-fs.service
Before=sysinit.target network-pre.target
ConditionPathExists=|${backup}
ConditionPathExists=|${copy}

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'if ${isOurs}; then ${putBack}; fi'

[Install]
WantedBy=sysinit.target
`;
}

export interface BootHookDeps {
  readonly tools: KernelTools;
  readonly root?: string | undefined;
}

export async function installBootHook({ tools, root = "/" }: BootHookDeps, files: BootFiles): Promise<void> {
  await writeFile(join(root, UNIT_FILE), renderBootUnit(files), { flush: true });
  await tools.run("systemctl", ["enable", "--quiet", BOOT_UNIT], { timeoutMs: 20_000 });
}

export async function hasBootHook(root = "/"): Promise<boolean> {
  return readFile(join(root, UNIT_FILE), "utf8").then(
    () => true,
    () => false,
  );
}

export async function removeBootHook({ tools, root = "/" }: BootHookDeps): Promise<"changed" | "unchanged"> {
  if (!(await hasBootHook(root))) return "unchanged";
  await quietly(tools, ["disable", "--quiet", BOOT_UNIT]);
  await rm(join(root, UNIT_FILE), { force: true });
  await quietly(tools, ["daemon-reload"]);
  return "changed";
}

/** Where systemd does not run, `disable` still removes the links; reload has nothing to do. */
async function quietly(tools: KernelTools, args: readonly string[]): Promise<void> {
  await tools.run("systemctl", args, { timeoutMs: 20_000 }).catch((error: unknown) => {
    if (!isAppError(error, "KernelRejected")) throw error;
  });
}
