import { connect } from "node:net";
import { request } from "#agent/listeners/node-http.ts";
import { durationMs } from "#proto/meta.ts";
import type { Check, WorkloadPort } from "#proto/workload.ts";
import { runCommand } from "./exec-check.ts";

/** What one probe found; `reason` is one word for programs, `message` is for people. */
export type Result = { readonly passed: true } | { readonly passed: false; readonly reason: string; readonly message: string };

export interface CheckTarget {
  /** The workload's own address; nothing else is ever asked. */
  readonly address: string;
  readonly ports: readonly WorkloadPort[];
}

const MAX_BODY_BYTES = 10_240;

/** One probe. Never rejects for what the workload does; throws only when the signal aborts. */
export async function runCheck(check: Check, target: CheckTarget, signal: AbortSignal): Promise<Result> {
  const timeoutMs = durationMs(check.timeout);
  if (check.exec) return runCommand(check.exec.command, { timeoutMs, address: target.address }, signal);
  const reference = check.http?.port ?? check.tcp?.port;
  const port = target.ports.find(({ name, port: number }) => name === reference || number === reference)?.port;
  if (port === undefined) return failed("NoSuchPort", `no port of the workload is named or numbered ${reference ?? ""}`);
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const result = check.http
    ? await askHttp({ address: target.address, port, path: check.http.path, expectStatus: check.http.expectStatus }, limit)
    : await connectTcp(target.address, port, limit);
  signal.throwIfAborted();
  if (result.passed || result.reason !== "Unreachable" || !limit.aborted) return result;
  return failed("Timeout", `${where(target.address, port)} did not answer within ${check.timeout}`);
}

export function failed(reason: string, message: string): Result {
  return { passed: false, reason, message: message.slice(0, 500) };
}

interface HttpQuestion {
  readonly address: string;
  readonly port: number;
  readonly path: string;
  readonly expectStatus: number | undefined;
}

/**
 * The status decides. The body is read to its end, so that the program need not see a broken connection, but no longer than the timeout
 * and no more of it than a little. A redirect is an answer like others: where it leads to is never asked.
 */
async function askHttp({ address, port, path, expectStatus }: HttpQuestion, limit: AbortSignal): Promise<Result> {
  return new Promise((resolve) => {
    const asked = request({
      host: address,
      port,
      path,
      agent: false,
      signal: limit,
      headers: { "user-agent": "fairlead-check", connection: "close" },
    });
    let answered: Result | undefined; // what breaks after the status changes nothing
    asked.on("error", (error) => resolve(answered ?? failed("Unreachable", `${where(address, port)}: ${error.message}`)));
    asked.once("response", (response) => {
      const status = response.statusCode ?? 0;
      const good = expectStatus === undefined ? status >= 200 && status < 400 : status === expectStatus;
      const expected = expectStatus === undefined ? "200 to 399" : String(expectStatus);
      const result: Result = good
        ? { passed: true }
        : failed("BadStatus", `GET ${path} on port ${port} answered HTTP ${status}, not ${expected}`);
      answered = result;
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_BODY_BYTES) asked.destroy();
      });
      response.once("error", () => undefined);
      response.once("close", () => resolve(result));
    });
    asked.end();
  });
}

async function connectTcp(address: string, port: number, limit: AbortSignal): Promise<Result> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, signal: limit });
    socket.once("connect", () => {
      socket.destroy();
      resolve({ passed: true });
    });
    socket.once("error", (error) => resolve(failed("Unreachable", `${where(address, port)}: ${error.message}`)));
  });
}

function where(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
