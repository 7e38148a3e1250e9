import { writeSync } from "node:fs";
import { pino } from "pino";
import type { JoinTokenInfo } from "#proto/agents.ts";
import { AppError, describeError, errorCodes } from "#proto/error.ts";
import { openNotices } from "#proto/systemd.ts";
import { readConfig, type Config } from "./config.ts";
import { localRoutes } from "./exec.ts";
import { checkRanges } from "./ranges.ts";
import { startServer, type RunningServer } from "./start.ts";

/** `fairlead server`: from the command line to the exit code. */

const STOP_MS = 10_000;

async function main(): Promise<number> {
  // Whoever read our output has enough (`fairlead server --help | head`, a log reader that ended): that stops neither help nor server.
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  const config = readConfig({ argv: process.argv.slice(2), env: process.env, print: (text) => void process.stdout.write(text) });
  if (!config) return 0;
  const stopped = new Promise<string>((resolve) => {
    process.once("SIGTERM", resolve);
    process.once("SIGINT", resolve);
  });
  checkRanges(config.cluster.serviceCidrs, await localRoutes());
  const log = pino({ level: config.logLevel, base: null }, pino.destination({ fd: 2, sync: true }));
  const notices = openNotices({ env: process.env, write: writeSync });
  const server = await startServer(config, log);
  log.info({ url: server.url, dataDir: config.dataDir, cluster: config.cluster }, "serving");
  process.stdout.write(greeting(config, server));
  const status = `serves on ${server.url}`;
  notices.ready(status);
  const watching = new AbortController();
  const watched = notices.watch({ stuck: () => server.stuck(), status: () => status }, watching.signal);
  const signal = await stopped;
  notices.stopping();
  watching.abort();
  log.info({ signal }, "stopping");
  // A bug may not keep the host from shutting down: what is acknowledged is on disk already.
  setTimeout(() => process.exit(1), STOP_MS).unref();
  await Promise.all([server.close(), watched]);
  log.info("stopped");
  return 0;
}

function greeting({ kubeconfigOut }: Config, { url, published: { joinTokenPath, joinToken } }: RunningServer): string {
  const token = joinTokenPath ?? "FILE";
  const how =
    joinTokenPath === undefined
      ? "FILE holds a join token, from `fairlead token create`"
      : `with a copy of ${joinTokenPath} from this host`;
  return `Fairlead serves on ${url}

Join other hosts (${how}):
  sudo fairlead agent join ${url} --token-file ${token}
${joinToken ? aboutToken(joinToken) : ""}
Administrator's credential (kubeconfig): ${kubeconfigOut}
`;
}

function aboutToken({ id, usesLeft, expiresAt }: JoinTokenInfo): string {
  return `That token is good for ${usesLeft} more hosts until ${expiresAt}; when all have joined, end it: fairlead token delete ${id}
`;
}

try {
  process.exitCode = await main();
} catch (error) {
  const hint = error instanceof AppError && error.hint !== undefined ? `\n  ${error.hint}` : "";
  console.error(`fairlead server: ${describeError(error)}${hint}`);
  process.exitCode = error instanceof AppError ? errorCodes[error.code].exit : 1;
}
