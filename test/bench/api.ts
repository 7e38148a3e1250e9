import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { connect, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import { join } from "node:path";
import type { Connection } from "#proto/client-http.ts";
import { createClient, type Client } from "#proto/client.ts";
import { startProgram, type Program } from "../fleet/program.ts";
import { waitFor } from "../wait-for.ts";
import { percentile, type Bench } from "./bench.ts";
import { connectionOf, root } from "./server.ts";
import { cpuMs, peakMb, rssMb } from "./usage.ts";

const SERVICES = 10_000;
const WATCHES = 1000;
const SESSIONS = 10;
const WRITERS = 64;
const ROUNDS = 20;
const LIST = "/api/v1/services";

/** The Kubernetes API as kubectl, kube-proxy and CoreDNS use it, over HTTP/2, next to a bare server that has the same bytes in memory. */
export const api: Bench = {
  name: "api",
  about: "list of 10,000 services, and 1,000 watches that hear of a write, over HTTP/2, next to a bare server with the same bytes",
  async run(say, { rounds = ROUNDS }) {
    const folder = await mkdtemp(join(root, ".bench-"));
    const kubeconfig = join(folder, "admin.yaml");
    const data = join(folder, "server");
    const arguments_ = ["--listen", "127.0.0.1:0", "--data-dir", data, "--kubeconfig-out", kubeconfig, "--log-level", "error"];
    const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };
    const server = await startProgram(process.execPath, [join(root, "server/main.ts"), ...arguments_], {
      env,
      logFile: join(folder, "log"),
    });
    const undo: (() => unknown)[] = [() => server.stop()];
    try {
      const connection = await waitFor(() => reachable(kubeconfig), { what: "the server", timeoutMs: 20_000, intervalMs: 100 });
      const client = createClient(connection);
      undo.push(() => client.close());
      const emptyMb = await rssMb(server.pid);
      say(`${SERVICES} services`);
      await seed(client);
      const ours = openPlace(connection, LIST, LIST, () => touch(client));
      undo.push(() => ours.close());
      const sample = await ours.list();
      const bare = await startBare({ folder, data, env, list: sample, ca: connection.ca ?? "" });
      undo.push(() => bare.stop());
      say(`lists, ${rounds} rounds in turns`);
      const lists = await inTurns([ours, bare.place], rounds, async (place) => {
        const start = performance.now();
        await place.list();
        return [performance.now() - start];
      });
      say(`${WATCHES} watches, ${rounds} wakes in turns`);
      const afterListMb = await rssMb(server.pid);
      await ours.watch(await newest(client));
      await bare.place.watch("0");
      const before = await cpuMs(server.pid);
      const wakes = await inTurns([ours, bare.place], rounds, (place) => place.wake());
      const cpu = (await cpuMs(server.pid)) - before;
      return {
        list_10000_ms: percentile(lists[0], 0.5),
        list_10000_p99_ms: percentile(lists[0], 0.99),
        bare_list_ms: percentile(lists[1], 0.5),
        bare_list_p99_ms: percentile(lists[1], 0.99),
        list_mb: sample.length / 1e6,
        watch_1000_wake_p50_ms: percentile(wakes[0], 0.5),
        watch_1000_wake_p99_ms: percentile(wakes[0], 0.99),
        bare_wake_p50_ms: percentile(wakes[1], 0.5),
        bare_wake_p99_ms: percentile(wakes[1], 0.99),
        wake_cpu_ms: cpu / rounds,
        server_empty_rss_mb: emptyMb,
        server_rss_mb: await rssMb(server.pid),
        server_after_lists_rss_mb: afterListMb,
        server_peak_mb: await peakMb(server.pid),
      };
    } finally {
      for (const step of undo.toReversed()) await step();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

async function reachable(kubeconfig: string): Promise<Connection> {
  const connection = await connectionOf(kubeconfig);
  const client = createClient(connection);
  await client.get("Namespace", "default").finally(() => client.close());
  return connection;
}

async function seed(client: Client): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      for (let i = next++; i < SERVICES; i = next++)
        await client.create(
          "Service",
          {
            apiVersion: "v1",
            kind: "Service",
            metadata: { name: `s${i}` },
            spec: { selector: { app: `s${i}` }, ports: [{ name: "http", port: 80 }] },
          },
          { namespace: "default" },
        );
    }),
  );
}

let round = 0;
async function touch(client: Client): Promise<void> {
  await client.patch("Service", "s0", { metadata: { annotations: { round: String(round++) } } }, { namespace: "default" });
}

/** Where the lists stand: a watch from there is told nothing of the past. */
async function newest(client: Client): Promise<string> {
  return (await client.list("Namespace")).resourceVersion;
}

/** A server of one of the two kinds, and what is measured of it. */
interface Place {
  list(): Promise<Buffer>;
  /** Opens the watches; resolves when all are answered. */
  watch(since: string): Promise<void>;
  /** Writes something; ms from then until each watch has heard. */
  wake(): Promise<number[]>;
  close(): void;
}

function openPlace({ server, ca, token }: Connection, listPath: string, watchPath: string, write: () => Promise<void>): Place {
  const open = (): ClientHttp2Session => connect(server, { ...(ca !== undefined && { ca }) }).on("error", () => undefined);
  const sessions = Array.from({ length: SESSIONS }, open);
  const [first = open()] = sessions;
  const get = (session: ClientHttp2Session, path: string): ClientHttp2Stream =>
    session.request({ ":path": path, ...(token !== undefined && { authorization: `Bearer ${token}` }) });
  let heard = (): void => undefined;
  return {
    list: () =>
      new Promise((resolve, reject) => {
        const chunks: Buffer[] = [];
        get(first, listPath)
          .on("data", (chunk: Buffer) => void chunks.push(chunk))
          .on("end", () => resolve(Buffer.concat(chunks)))
          .on("error", reject);
      }),
    watch: async (since) => {
      const streams = Array.from({ length: WATCHES }, (_, i) =>
        get(sessions[i % SESSIONS] ?? first, `${watchPath}?watch=true&resourceVersion=${since}`),
      );
      await Promise.all(streams.map((stream) => new Promise((resolve) => stream.once("response", resolve))));
      for (const stream of streams) stream.on("error", () => undefined).on("data", () => heard());
    },
    wake: async () => {
      const start = performance.now();
      const times: number[] = [];
      const all = new Promise<void>((resolve) => {
        heard = () => {
          times.push(performance.now() - start);
          if (times.length === WATCHES) resolve();
        };
      });
      await Promise.all([write(), all]);
      return times;
    },
    close: () => {
      for (const session of sessions) session.destroy();
    },
  };
}

interface BareInput {
  readonly folder: string;
  readonly data: string;
  readonly env: Readonly<Record<string, string>>;
  readonly list: Buffer;
  readonly ca: string;
}

async function startBare({ folder, data, env, list, ca }: BareInput): Promise<{ place: Place; stop(): Promise<void> }> {
  const files = await readdir(data);
  const named = (ending: string): string => join(data, files.find((file) => file === ending) ?? "");
  await writeFile(join(folder, "list"), list);
  const { items } = JSON.parse(list.toString("utf8")) as { items: unknown[] };
  await writeFile(join(folder, "line"), `${JSON.stringify({ type: "MODIFIED", object: items[0] })}\n`);
  const log = join(folder, "bare.log");
  const program: Program = await startProgram(
    process.execPath,
    [join(import.meta.dirname, "bare-https.ts"), named("tls.key"), named("tls.crt"), join(folder, "list"), join(folder, "line")],
    { env, logFile: log },
  );
  const port = await waitFor(async () => /^\d+$/m.exec(await program.output())?.[0], { what: "the bare server", timeoutMs: 10_000 });
  const url = `https://127.0.0.1:${port}`;
  const wake = connect(url, { ca });
  const place = openPlace({ server: url, ca }, "/list", "/watch", async () => {
    await new Promise((resolve) =>
      wake.request({ ":method": "POST", ":path": "/wake" }, { endStream: true }).resume().once("close", resolve),
    );
  });
  const stop = async (): Promise<void> => {
    place.close();
    wake.destroy();
    await program.stop();
  };
  return { place, stop };
}

/** Samples of each, taken in turns: what slows the machine down for a while slows both. */
async function inTurns(
  places: readonly [Place, Place],
  rounds: number,
  measure: (place: Place) => Promise<number[]>,
): Promise<[number[], number[]]> {
  const samples: [number[], number[]] = [[], []];
  for (const place of places) await measure(place); // the first is the compiler's
  for (let i = 0; i < rounds; i++) for (const at of [0, 1] as const) samples[at].push(...(await measure(places[at])));
  return samples;
}
