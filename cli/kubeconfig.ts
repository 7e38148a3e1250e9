import { z } from "zod";
import { AppError } from "#proto/error.ts";
import { causesOf } from "#proto/parse.ts";

/** The part of Kubernetes' configuration format that says where a server is, how it is known, and who we are. Unknown fields are ignored. */

const Cluster = z.looseObject({
  server: z.string(),
  "certificate-authority": z.string().optional(),
  "certificate-authority-data": z.string().optional(),
  "insecure-skip-tls-verify": z.boolean().optional(),
});
const User = z.looseObject({
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  "client-certificate": z.string().optional(),
  "client-certificate-data": z.string().optional(),
  exec: z.unknown().optional(),
});
const Context = z.looseObject({ cluster: z.string(), user: z.string(), namespace: z.string().optional() });

const Kubeconfig = z.looseObject({
  clusters: z.array(z.looseObject({ name: z.string(), cluster: Cluster })).min(1),
  users: z.array(z.looseObject({ name: z.string(), user: User.nullable().transform((user) => user ?? {}) })).default([]),
  contexts: z.array(z.looseObject({ name: z.string(), context: Context })).min(1),
  "current-context": z.string().optional(),
});

/** What a context stands for. Paths are as the file says: relative to the file's folder. */
export interface Credentials {
  readonly context: string;
  readonly server: string;
  readonly namespace: string | undefined;
  readonly user: string;
  readonly ca: { readonly pem: string } | { readonly path: string } | undefined;
  readonly token: { readonly text: string } | { readonly path: string } | undefined;
}

/** `input` is the parsed YAML; `file` names it in messages. Throws Usage. */
export function parseKubeconfig(file: string, input: unknown, wantedContext?: string): Credentials {
  const result = Kubeconfig.safeParse(input);
  if (!result.success)
    throw new AppError("Usage", `${file} is not a usable kubeconfig file`, {
      causes: causesOf(result.error, input),
      hint: `the server writes one at its first start; name another with --kubeconfig`,
    });
  const config = result.data;
  const name = wantedContext ?? config["current-context"] ?? config.contexts[0]?.name ?? "";
  const context = find(file, "context", name, config.contexts).context;
  const { cluster } = find(file, "cluster", context.cluster, config.clusters);
  const { user } = find(file, "user", context.user, config.users);
  if (cluster["insecure-skip-tls-verify"] === true)
    throw new AppError(
      "Usage",
      `${file}: insecure-skip-tls-verify is not supported: whoever answers at that address would get the credential`,
      {
        hint: "put the CA's certificate into certificate-authority-data",
      },
    );
  if (user.token === undefined && user.tokenFile === undefined && hasOtherCredential(user))
    throw new AppError(
      "Usage",
      `${file}: user "${context.user}" has no token; client certificates and exec plugins are not supported here`,
      {
        hint: "if this file is for a Kubernetes cluster, set FAIRLEAD_KUBECONFIG to the one for Fairlead",
      },
    );
  return {
    context: name,
    server: cluster.server,
    namespace: context.namespace,
    user: context.user,
    ca: caOf(file, cluster),
    token: user.token !== undefined ? { text: user.token } : user.tokenFile !== undefined ? { path: user.tokenFile } : undefined,
  };
}

function hasOtherCredential(user: z.output<typeof User>): boolean {
  return [user["client-certificate"], user["client-certificate-data"], user.exec].some((one) => one !== undefined);
}

function caOf(file: string, cluster: z.output<typeof Cluster>): Credentials["ca"] {
  const inline = cluster["certificate-authority-data"];
  if (inline !== undefined) {
    const pem = Buffer.from(inline, "base64").toString("utf8");
    if (!pem.includes("-----BEGIN CERTIFICATE-----"))
      throw new AppError("Usage", `${file}: certificate-authority-data is not a PEM certificate in base64`);
    return { pem };
  }
  const path = cluster["certificate-authority"];
  return path === undefined ? undefined : { path };
}

function find<Entry extends { name: string }>(file: string, what: string, name: string, entries: readonly Entry[]): Entry {
  const entry = entries.find((one) => one.name === name);
  if (entry) return entry;
  const known = entries.map((one) => `"${one.name}"`).join(", ") || "none";
  throw new AppError("Usage", `${file} has no ${what} "${name}"`, { hint: `it has: ${known}` });
}
