import { execa } from "execa";
import { access, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { Heartbeat, JoinReply, JoinTokenCreated, SnapshotPage, type ChangesReply } from "#proto/agents.ts";
import { createClient, type Client } from "#proto/client.ts";
import { pause } from "#proto/backoff.ts";
import { paths } from "#proto/paths.ts";
import { waitFor } from "#test/wait-for.ts";

/** A real server in a process of its own, and the real command line in processes of theirs. */
export interface TestServer {
  readonly folder: string;
  readonly kubeconfig: string;
  readonly url: string;
  readonly ca: string;
  readonly token: string;
  /** As administrator. */
  readonly client: Client;
  /** Kills it without warning; the data stay. */
  stop(): Promise<void>;
  /** Again, on the same port with the same data. */
  start(): Promise<void>;
  close(): Promise<void>;
}

const RANGE = "10.222.0.0/16";

export async function startServer(): Promise<TestServer> {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-cli-"));
  const kubeconfig = join(folder, "admin.yaml");
  const launch = (listen: string) =>
    execa(
      process.execPath,
      ["server/main.ts", "--listen", listen, "--data-dir", join(folder, "data"), "--kubeconfig-out", kubeconfig, "--service-cidr", RANGE],
      { reject: false, all: true, buffer: true, env: { FAIRLEAD_CONFIG: undefined } },
    );
  let child = launch("127.0.0.1:0");
  const up = async (): Promise<void> => {
    let ended: string | undefined;
    void child.then(({ all }) => (ended = all));
    await waitFor(
      async () => {
        if (ended !== undefined) throw new Error(`the server ended: ${ended}`);
        await access(kubeconfig);
        const { client } = await connect(kubeconfig);
        await client.get("Namespace", "default").finally(() => client.close());
        return true;
      },
      { what: "the server", timeoutMs: 20_000, intervalMs: 100 },
    );
  };
  await up().catch(async (error: unknown) => {
    child.kill("SIGKILL");
    throw error;
  });
  const { url, ca, token, client } = await connect(kubeconfig);
  return {
    folder,
    kubeconfig,
    url,
    ca,
    token,
    client,
    stop: async () => {
      child.kill("SIGKILL");
      await child;
    },
    start: async () => {
      child = launch(`127.0.0.1:${new URL(url).port}`);
      await up();
    },
    close: async () => {
      await client.close();
      child.kill("SIGTERM");
      await child;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function connect(kubeconfig: string): Promise<Pick<TestServer, "url" | "ca" | "token" | "client">> {
  const config = parse(await readFile(kubeconfig, "utf8")) as {
    clusters: [{ cluster: { server: string; "certificate-authority-data": string } }];
    users: [{ user: { token: string } }];
  };
  const { server: url, "certificate-authority-data": encoded } = config.clusters[0].cluster;
  const { token } = config.users[0].user;
  const ca = Buffer.from(encoded, "base64").toString("utf8");
  return { url, ca, token, client: createClient({ server: url, ca, token }) };
}

export interface CliOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly kubeconfig?: string;
}

/** Starts the real command line. */
export function startCli(server: Pick<TestServer, "kubeconfig">, args: readonly string[], { input, env, kubeconfig }: CliOptions = {}) {
  return execa(process.execPath, ["cli/main.ts", ...args], {
    reject: false,
    stripFinalNewline: false,
    input: input ?? "",
    env: { FAIRLEAD_KUBECONFIG: kubeconfig ?? server.kubeconfig, KUBECONFIG: "", ...env },
  });
}

export interface TestHost {
  readonly name: string;
  readonly token: string;
  /** From now on it says no more which revision it holds. */
  freeze(): void;
  stop(): Promise<void>;
}

/** A host that joins, sends heartbeats and receipts as an agent does, and has no kernel to program. */
export async function startHost(server: TestServer, name: string, address: string): Promise<TestHost> {
  const { body } = await server.client.transport.send({ method: "POST", path: paths.joinTokens, body: {} });
  const joiner = createClient({ server: server.url, ca: server.ca, token: JoinTokenCreated.parse(body).token });
  const request = { name, machineId: `machine-of-${name}`, addresses: [{ type: "InternalIP", address }] };
  const joined = JoinReply.parse((await joiner.transport.send({ method: "POST", path: paths.join, body: request })).body);
  await joiner.close();
  const stopped = new AbortController();
  const frozen = new AbortController();
  const own = createClient({ server: server.url, ca: server.ca, token: joined.token });
  const following = Promise.allSettled([
    sendHeartbeats(own, name, stopped.signal),
    sendReceipts(own, AbortSignal.any([stopped.signal, frozen.signal])),
  ]);
  return {
    name,
    token: joined.token,
    freeze: () => frozen.abort(),
    stop: async () => {
      stopped.abort();
      await following;
      await own.close();
    },
  };
}

async function sendHeartbeats({ transport }: Client, name: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await transport.send({ method: "POST", path: paths.heartbeat(name), body: Heartbeat.parse({}), signal });
    await pause(300, signal);
  }
}

async function sendReceipts({ transport }: Client, signal: AbortSignal): Promise<void> {
  const { epoch, revision } = SnapshotPage.parse((await transport.send({ path: paths.snapshot, signal })).body);
  for (let since = revision; !signal.aborted;) {
    const { body } = await transport.send({ path: paths.changes, query: { since, epoch, applied: since, timeoutMs: 5000 }, signal });
    since = (body as ChangesReply).revision;
  }
}
