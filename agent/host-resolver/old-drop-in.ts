import { readFile, rmdir, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { isAppError } from "#proto/error.ts";

/** What earlier agents wrote for systemd-resolved: by it we were asked for all names (docs/adr/0320). It goes when the host gets a link instead, and at cleanup. */
const DROP_IN = "etc/systemd/resolved.conf.d/fairlead.conf";
const MARK = "# Made by fairlead agent --configure-resolver";
const MADE_FOLDER = "# The folder was made with it.";

export interface OldDropInDeps {
  readonly tools: KernelTools;
  readonly root?: string | undefined;
}

export async function isOldDropInThere({ root = "/" }: Pick<OldDropInDeps, "root"> = {}): Promise<boolean> {
  return (await textOf(root)).startsWith(MARK);
}

export async function removeOldDropIn({ tools, root = "/" }: OldDropInDeps): Promise<"changed" | "unchanged"> {
  const text = await textOf(root);
  if (!text.startsWith(MARK)) return "unchanged";
  const path = join(root, DROP_IN);
  await unlink(path);
  // Not empty = somebody else has put something there meanwhile.
  if (text.includes(MADE_FOLDER)) await rmdir(dirname(path)).catch(() => undefined);
  await tools.run("systemctl", ["try-reload-or-restart", "systemd-resolved.service"], { timeoutMs: 20_000 }).catch((error: unknown) => {
    if (!isAppError(error, "KernelRejected")) throw error; // it does not run here
  });
  return "changed";
}

async function textOf(root: string): Promise<string> {
  return readFile(join(root, DROP_IN), "utf8").catch(() => "");
}
