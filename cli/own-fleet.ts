import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { AppError } from "#proto/error.ts";
import { nodeNameOf, openContext, type Context } from "./context.ts";

/** Whether this host is of the fleet whose server runs on it. */

export interface HostFiles {
  /** Where this host's own credential is, if it has joined a fleet. */
  readonly nodeConfig: string;
  readonly serverSettings: string;
}

const Settings = z.looseObject({ dataDir: z.string().optional() });

/** Throws Usage where the host has joined the fleet of another server: a second one here would be empty, and nobody would follow it. Answers whether it has joined its own. */
export async function hasJoinedItself(files: HostFiles, dataDir: string | undefined): Promise<boolean> {
  const text = await textOf(files.nodeConfig);
  if (text === undefined) return false;
  const node = await openContext({ path: files.nodeConfig, text });
  const own = await textOf(join(dataDir ?? (await dataDirOf(files.serverSettings)), "ca.crt"));
  const mark = fingerprintOf(own);
  if (mark !== undefined && mark === fingerprintOf(node.ca)) return true;
  throw otherFleet(node, files.nodeConfig);
}

function otherFleet({ server, user }: Context, nodeConfig: string): AppError {
  return new AppError(
    "Usage",
    `this host is ${nodeNameOf(user) ?? user} of the fleet at ${server} (${nodeConfig}); \`up\` would make another fleet`,
    {
      hint: "to run its agent: systemctl enable --now fairlead-agent, or fairlead agent; to leave that fleet first: fairlead agent cleanup --purge (the agent stopped), then fairlead up",
    },
  );
}

/** As the server finds it without flags. What is wrong in its settings it says itself. */
async function dataDirOf(serverSettings: string): Promise<string> {
  const text = await textOf(serverSettings);
  return dataDirIn(text ?? "") ?? "/var/lib/fairlead/server";
}

function dataDirIn(text: string): string | undefined {
  try {
    return Settings.safeParse(parse(text, { logLevel: "error" })).data?.dataDir;
  } catch {
    return undefined;
  }
}

function fingerprintOf(pem: string | undefined): string | undefined {
  try {
    return pem === undefined ? undefined : new X509Certificate(pem).fingerprint256;
  } catch {
    return undefined;
  }
}

async function textOf(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined);
}
