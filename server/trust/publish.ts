import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Logger } from "pino";
import { parse, stringify } from "yaml";
import { z } from "zod";
import type { JoinTokenInfo } from "#proto/agents.ts";
import { AppError, isAppError } from "#proto/error.ts";
import type { Records } from "../store/records.ts";
import { readIfThere, writePrivate } from "./private-file.ts";
import type { Trust } from "./trust.ts";

export interface PublishOptions {
  readonly trust: Trust;
  readonly records: Records;
  readonly dataDir: string;
  /** Where the administrator's kubeconfig goes. */
  readonly kubeconfigPath: string;
  /** How the server is reached, with the port that it really listens on. */
  readonly serverUrl: string;
  readonly log: Pick<Logger, "info" | "warn">;
}

export interface Published {
  readonly kubeconfigPath: string;
  /** The file with a join token that is still good, if there is one: for the join command. */
  readonly joinTokenPath: string | undefined;
  /** That token: how long it is good, and by which name it is deleted. */
  readonly joinToken: JoinTokenInfo | undefined;
}

/** The first token is for setting up the fleet: a day, a hundred hosts. */
const FIRST_TOKEN = { ttlSeconds: 24 * 3600, uses: 100, description: "made at first start" };

/** Leaves on disk what administrator and hosts need to get in; files of mode 0600, and nothing of it in any log. */
export async function publish(options: PublishOptions): Promise<Published> {
  await publishKubeconfig(options);
  const path = join(options.dataDir, "join-token");
  const joinToken = await publishJoinToken(options, path);
  return { kubeconfigPath: options.kubeconfigPath, joinTokenPath: joinToken && path, joinToken };
}

async function publishKubeconfig({ trust, kubeconfigPath, serverUrl, log }: PublishOptions): Promise<void> {
  const found = await orRefuse(kubeconfigPath, () => readIfThere(kubeconfigPath));
  const known = found === undefined ? undefined : tokenIn(found);
  const write = (token: string): Promise<void> =>
    orRefuse(kubeconfigPath, async () => {
      const text = kubeconfig({ token, caPem: trust.caPem, serverUrl });
      if (text === found) return;
      await mkdir(dirname(kubeconfigPath), { recursive: true, mode: 0o755 });
      // Perhaps another server's: it is set aside, not lost.
      if (found !== undefined && token !== known) await setAside(kubeconfigPath, found, log);
      await writePrivate(kubeconfigPath, text);
      log.info({ path: kubeconfigPath }, "administrator's kubeconfig written");
    });
  if (known !== undefined && trust.admin.authenticate(known) !== undefined) return write(known);
  const ends = trust.admin.exists;
  await trust.admin.replace(write);
  if (ends)
    log.warn(
      { path: kubeconfigPath },
      "the administrator's former credential has ended: copies of an older kubeconfig are refused from now on",
    );
}

const MAX_SET_ASIDE = 9;

/** Under a name that is free; of many the last one is given up, as the first was most likely made by a person. */
async function setAside(path: string, text: string, log: PublishOptions["log"]): Promise<void> {
  let old = `${path}.old`;
  for (let i = 2; i <= MAX_SET_ASIDE && (await readIfThere(old)) !== undefined; i++) old = `${path}.old.${i}`;
  await writePrivate(old, text);
  log.warn({ path, old }, "the kubeconfig there was not this server's; set aside");
}

async function orRefuse<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new AppError("InternalError", `cannot write the administrator's kubeconfig ${path}`, {
      cause,
      hint: "run the server as root, or name a file that it may write with --kubeconfig-out",
    });
  }
}

async function publishJoinToken({ trust, records, log }: PublishOptions, path: string): Promise<JoinTokenInfo | undefined> {
  if ((await records.get("bootstrap", "join-token")) === undefined) {
    const { token, ...info } = await trust.joinTokens.create(FIRST_TOKEN);
    const { id, expiresAt } = info;
    await writePrivate(path, `${token}\n`);
    await records.put("bootstrap", "join-token", { id });
    log.info({ path, id, expiresAt }, "first join token written");
    return info;
  }
  const token = (await readIfThere(path))?.trim();
  const id = token === undefined ? undefined : tokenIdOf(trust, token);
  return trust.joinTokens.list().find((info) => info.id === id);
}

/** undefined: it expired, is used up, or was deleted. */
function tokenIdOf(trust: Trust, token: string): string | undefined {
  try {
    const identity = trust.joinTokens.authenticate(token);
    return identity?.kind === "joiner" ? identity.tokenId : undefined;
  } catch (error) {
    if (isAppError(error, "Unauthorized")) return undefined;
    throw error;
  }
}

function kubeconfig({ token, caPem, serverUrl }: { token: string; caPem: string; serverUrl: string }): string {
  const name = "fairlead";
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster: { server: serverUrl, "certificate-authority-data": Buffer.from(caPem).toString("base64") } }],
    users: [{ name: "admin", user: { token } }],
    contexts: [{ name, context: { cluster: name, user: "admin", namespace: "default" } }],
    "current-context": name,
  });
}

const WithToken = z.object({ users: z.array(z.object({ user: z.object({ token: z.string() }) })).min(1) });

function tokenIn(text: string): string | undefined {
  try {
    return WithToken.safeParse(parse(text)).data?.users[0]?.user.token;
  } catch {
    return undefined; // not YAML
  }
}
