import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import Database from "better-sqlite3";
import { createClient, type Client } from "#proto/client.ts";
import { startProgram } from "../fleet/program.ts";
import { freePort } from "../free-port.ts";
import { waitFor } from "../wait-for.ts";
import type { Bench } from "./bench.ts";
import { connectionOf, root } from "./server.ts";

const SECONDS = 5;
const OBJECT_BYTES = 700; // about what a small Service is in JSON

/** Durable writes through the API (TLS, validation, admission, group commit), next to plain SQLite with one fsync a write on the same disk. */
export const write: Bench = {
  name: "write",
  about: "durable writes per second through the API with 1 and 64 clients, next to plain SQLite with one fsync a write",
  async run(say) {
    const folder = await mkdtemp(join(root, ".bench-")); // on the disk of the checkout: /tmp may be in memory, where fsync costs nothing
    const port = await freePort();
    const kubeconfig = join(folder, "admin.yaml");
    const options = [
      "--listen",
      `127.0.0.1:${port}`,
      "--data-dir",
      join(folder, "server"),
      "--kubeconfig-out",
      kubeconfig,
      "--log-level",
      "error",
    ];
    const server = await startProgram(process.execPath, [join(root, "server/main.ts"), ...options], {
      env: { ...environment() },
      logFile: join(folder, "log"),
    });
    try {
      const client = await waitFor(() => connected(kubeconfig), { what: "the server", timeoutMs: 20_000, intervalMs: 100 });
      say(`plain SQLite, ${SECONDS} s`);
      const before = plainSqlite(join(folder, "before.db"));
      const rates: number[] = [];
      for (const clients of [1, 64]) {
        say(`API, ${clients} clients, ${SECONDS} s`);
        rates.push(await throughApi(client, clients));
      }
      say(`plain SQLite, ${SECONDS} s`);
      const after = plainSqlite(join(folder, "after.db"));
      await client.close();
      const [one = NaN, many = NaN] = rates;
      return { api_1_client_per_s: one, api_64_clients_per_s: many, sqlite_fsync_each_per_s: (before + after) / 2 };
    } finally {
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    }
  },
};

function plainSqlite(path: string): number {
  const db = new Database(path);
  db.pragma("journal_mode = WAL");
  db.pragma("synchronous = FULL");
  db.exec("CREATE TABLE objects (name TEXT PRIMARY KEY, body TEXT) STRICT");
  const put = db.prepare("INSERT OR REPLACE INTO objects VALUES (?, ?)");
  const body = "x".repeat(OBJECT_BYTES);
  const end = performance.now() + SECONDS * 1000;
  let writes = 0;
  for (; performance.now() < end; writes++) put.run(`service-${writes % 64}`, body);
  db.close();
  return writes / SECONDS;
}

/** Each client changes a Service of its own, again and again: every answer is a commit on disk. */
async function throughApi(client: Client, clients: number): Promise<number> {
  const names = Array.from({ length: clients }, (_, i) => `bench-${clients}-${i}`);
  await Promise.all(
    names.map((name) =>
      client.create(
        "Service",
        { apiVersion: "v1", kind: "Service", metadata: { name }, spec: { ports: [{ port: 80 }] } },
        { namespace: "default" },
      ),
    ),
  );
  const start = performance.now();
  const end = start + SECONDS * 1000;
  const counts = await Promise.all(
    names.map(async (name) => {
      let writes = 0;
      for (; performance.now() < end; writes++)
        await client.patch("Service", name, { metadata: { annotations: { "bench/round": String(writes) } } }, { namespace: "default" });
      return writes;
    }),
  );
  return (counts.reduce((sum, one) => sum + one, 0) * 1000) / (performance.now() - start);
}

async function connected(kubeconfig: string): Promise<Client> {
  const client = createClient(await connectionOf(kubeconfig));
  await client.get("Namespace", "default");
  return client;
}

function environment(): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "/usr/bin:/bin" };
}
