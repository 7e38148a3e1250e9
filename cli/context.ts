import { readFile, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { AppError, describeError } from "#proto/error.ts";
import { parseKubeconfig, type Credentials } from "./kubeconfig.ts";

/** Where a configuration file may be. `named` ones were asked for: it is an error when they are not there. */
export interface Candidate {
  readonly path: string;
  readonly named?: string;
}

export const NODE_CONFIG = "/etc/fairlead/node.yaml";
const ADMIN_CONFIG = "/etc/fairlead/admin.yaml";
const MAX_BYTES = 1 << 20;

type Env = Readonly<Record<string, string | undefined>>;

/** In order of preference; the first that is there is taken. */
export function candidates(flag: string | undefined, env: Env, home: string = homedir()): Candidate[] {
  if (flag !== undefined) return [{ path: flag, named: "--kubeconfig" }];
  const ours = env["FAIRLEAD_KUBECONFIG"];
  if (ours !== undefined && ours !== "") return [{ path: ours, named: "FAIRLEAD_KUBECONFIG" }];
  const theirs = (env["KUBECONFIG"] ?? "").split(":").filter((path) => path !== "");
  if (theirs.length === 1) return theirs.map((path) => ({ path, named: "KUBECONFIG" }));
  const config = env["XDG_CONFIG_HOME"] || join(home, ".config");
  return [...theirs, join(config, "fairlead/config"), ADMIN_CONFIG, NODE_CONFIG].map((path) => ({ path }));
}

export interface ConfigFile {
  readonly path: string;
  readonly text: string;
}

/** The first file that can be read. Throws Usage that names all that were tried and why they did not serve. */
export async function findConfig(all: readonly Candidate[]): Promise<ConfigFile> {
  const tried: string[] = [];
  let denied = false;
  for (const { path, named } of all) {
    try {
      if ((await stat(path)).size > MAX_BYTES)
        throw new AppError("Usage", `${path} is larger than ${MAX_BYTES} bytes: not a kubeconfig file`);
      return { path, text: await readFile(path, "utf8") };
    } catch (error) {
      if (error instanceof AppError) throw error;
      const why = reasonOf(error);
      denied ||= why === "permission denied";
      if (named !== undefined)
        throw new AppError("Usage", `cannot read ${path}, which ${named} names: ${why}`, { hint: hintFor(denied), cause: error });
      tried.push(`${path} (${why})`);
    }
  }
  throw new AppError("Usage", `found no credentials for a Fairlead server; tried ${tried.join(", ")}`, { hint: hintFor(denied) });
}

export interface Context extends Omit<Credentials, "ca" | "token"> {
  readonly file: string;
  readonly ca: string | undefined;
  readonly token: string | undefined;
}

export async function openContext({ path, text }: ConfigFile, wantedContext?: string): Promise<Context> {
  const { ca, token, ...rest } = parseKubeconfig(path, parseYaml(path, text), wantedContext);
  const beside = (file: string): string => resolve(dirname(path), file);
  const read = async (file: string): Promise<string> => (await findConfig([{ path: beside(file), named: path }])).text;
  return {
    ...rest,
    file: path,
    ca: ca === undefined ? undefined : "pem" in ca ? ca.pem : await read(ca.path),
    token: token === undefined ? undefined : "text" in token ? token.text : (await read(token.path)).trim(),
  };
}

/** The node that a credential belongs to: joining names its user `node-NAME`, Kubernetes `system:node:NAME`; undefined for other users. */
export function nodeNameOf(user: string): string | undefined {
  return /^(?:node-|system:node:)(.+)$/.exec(user)?.[1];
}

function parseYaml(path: string, text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 0, prettyErrors: true, logLevel: "error" });
  } catch (error) {
    throw new AppError("Usage", `${path} is not YAML: ${describeError(error).split("\n")[0] ?? ""}`, { cause: error });
  }
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  if (code === "ENOENT" || code === "ENOTDIR") return "not there";
  if (code === "EACCES" || code === "EPERM") return "permission denied";
  return describeError(error);
}

function hintFor(denied: boolean): string {
  return denied
    ? "the credential belongs to root: run this with sudo, or have it copied to ~/.config/fairlead/config, readable by you alone"
    : `on the server's host it is ${ADMIN_CONFIG}; copy that to ~/.config/fairlead/config, or name it with --kubeconfig or FAIRLEAD_KUBECONFIG`;
}
