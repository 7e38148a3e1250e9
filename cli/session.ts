import { hostname } from "node:os";
import { createClient, orUndefined, type Client } from "#proto/client.ts";
import { AppError } from "#proto/error.ts";
import { DnsLabel } from "#proto/meta.ts";
import { DEFAULT_NAMESPACE } from "#proto/namespace.ts";
import { candidates, findConfig, nodeNameOf, NODE_CONFIG, openContext, type Context } from "./context.ts";
import { say, type GlobalOptions, type Io } from "./io.ts";

/** A connection to the server with what the command line and the configuration say about it. */
export interface Session extends AsyncDisposable {
  readonly client: Client;
  readonly context: Context;
  /** Where namespaced objects are when nothing else is said. */
  readonly namespace: string;
  /** Whether -n was given. */
  readonly namespaceIsGiven: boolean;
}

export async function openSession(options: GlobalOptions, io: Io): Promise<Session> {
  const context = await openContext(await findConfig(candidates(options.kubeconfig, io.env)), options.context);
  const namespace = options.namespace ?? context.namespace ?? DEFAULT_NAMESPACE;
  const checked = DnsLabel.safeParse(namespace);
  if (!checked.success)
    throw new AppError("Usage", `"${namespace}" is not a namespace: it ${checked.error.issues[0]?.message ?? "is not a name"}`);
  const client = createClient({ server: context.server, ca: context.ca, token: context.token }, { fieldManager: "fairlead" });
  return {
    client,
    context,
    namespace,
    namespaceIsGiven: options.namespace !== undefined,
    [Symbol.asyncDispose]: () => client.close(),
  };
}

/** The node that this host is: of the credential in use if that is a node's, of this host's own one, or else the one with the host's name. */
export async function thisNode(session: Session, io: Io): Promise<string> {
  const named = nodeNameOf(session.context.user) ?? (await nodeOfThisHost());
  if (named !== undefined) return named;
  const name = hostname().toLowerCase();
  if (await orUndefined(session.client.get("Node", name, { signal: io.stop }))) return name;
  throw new AppError("Usage", `cannot tell which node this is: no readable ${NODE_CONFIG}, and no node is named ${name}`, {
    hint: "name it with --node (`fairlead get nodes` lists them), or make this host one with `fairlead agent join`",
  });
}

async function nodeOfThisHost(): Promise<string | undefined> {
  try {
    return nodeNameOf((await openContext(await findConfig([{ path: NODE_CONFIG }]))).user);
  } catch {
    return undefined; // no credential of this host, or none that we may read
  }
}

/** For WriteOptions: what the server has to say goes to stderr. */
export function warnTo(io: Io): (text: string) => void {
  return (text) => say(io, `Warning: ${text}`);
}
