import { createServer, type RequestListener } from "node:http";
import { createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Check } from "#proto/workload.ts";
import { waitFor } from "#test/wait-for.ts";
import { runCheck } from "./check.ts";

const never = new AbortController().signal;

async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function anHttpServer(answer: RequestListener): Promise<number> {
  const server = createServer(answer);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return listen(server);
}

const check = async (port: number, what: object, address = "127.0.0.1") =>
  runCheck(Check.parse({ timeout: "300ms", ...what }), { address, ports: [{ name: "http", port, protocol: "TCP" }] }, never);
const http = (path = "/", more: object = {}) => ({ http: { port: "http", path, ...more } });

describe("http", () => {
  test.for([
    [200, true],
    [204, true],
    [399, true],
    [400, false],
    [503, false],
  ] as const)("a status of %d passes: %s", async ([status, passed]) => {
    const port = await anHttpServer((_, reply) => reply.writeHead(status).end());
    expect((await check(port, http())).passed).toBe(passed);
  });

  test("expectStatus takes that one only", async () => {
    const port = await anHttpServer((request, reply) => reply.writeHead(request.url === "/teapot" ? 418 : 200).end());
    expect((await check(port, http("/teapot", { expectStatus: 418 }))).passed).toBe(true);
    expect(await check(port, http("/", { expectStatus: 418 }))).toMatchObject({ passed: false, reason: "BadStatus" });
  });

  test("a redirect passes and is not followed", async () => {
    let followed = false;
    const other = await anHttpServer((_, reply) => {
      followed = true;
      reply.end();
    });
    const port = await anHttpServer((_, reply) => reply.writeHead(302, { location: `http://127.0.0.1:${other}/` }).end());
    expect((await check(port, http())).passed).toBe(true);
    expect(followed).toBe(false);
  });

  test("a server that accepts and never answers fails after the timeout", async () => {
    const port = await listen(createTcpServer((socket) => onTestFinished(() => void socket.destroy())).unref());
    expect(await check(port, http())).toMatchObject({ passed: false, reason: "Timeout" });
  });

  test("a body that never ends does not hold the check beyond its timeout", async () => {
    const port = await anHttpServer((_, reply) => {
      const drip = setInterval(() => reply.write("x"), 10);
      reply.once("close", () => clearInterval(drip));
    });
    expect((await check(port, http())).passed).toBe(true);
  });

  test("a body without end is cut off after a little of it", async () => {
    let sent = 0;
    const port = await anHttpServer((_, reply) => {
      const more = (): void => {
        while (!reply.destroyed && reply.write(Buffer.alloc(16_384))) sent += 16_384;
        if (!reply.destroyed) reply.once("drain", more);
      };
      more();
    });
    const before = performance.now();
    expect((await check(port, { ...http(), timeout: "5s" })).passed).toBe(true);
    expect(performance.now() - before).toBeLessThan(2000);
    expect(sent).toBeLessThan(16 << 20);
  });

  test("no server at the address is a failure that says where", async () => {
    const server = createTcpServer();
    const port = await listen(server);
    server.close();
    await once(server, "close");
    expect(await check(port, http())).toMatchObject({
      passed: false,
      reason: "Unreachable",
      message: expect.stringContaining(`127.0.0.1:${port}`) as string,
    });
  });

  test("an answer that is no HTTP is a failure", async () => {
    const port = await listen(createTcpServer((socket) => socket.end("SSH-2.0-OpenSSH\r\n")).unref());
    expect((await check(port, http())).passed).toBe(false);
  });
});

describe("tcp", () => {
  test("a listening port passes, a closed one fails", async () => {
    const server = createTcpServer((socket) => socket.on("error", () => undefined)).unref();
    const port = await listen(server);
    expect((await check(port, { tcp: { port: "http" } })).passed).toBe(true);
    server.close();
    await once(server, "close");
    expect((await check(port, { tcp: { port: "http" } })).passed).toBe(false);
  });

  test("a port that the workload does not have is a failure", async () => {
    expect(await check(1, { tcp: { port: 2 } })).toMatchObject({ passed: false, reason: "NoSuchPort" });
  });
});

describe("exec", () => {
  const exec = (...command: string[]) => check(1, { exec: { command } });

  test("exit code 0 passes; another fails with the output", async () => {
    expect((await exec("true")).passed).toBe(true);
    expect(await exec("sh", "-c", "echo no disk; exit 3")).toEqual({
      passed: false,
      reason: "CommandFailed",
      message: "sh ended with 3: no disk",
    });
  });

  test("no such program is a failure", async () => {
    expect(await exec("/no/such/program")).toMatchObject({ passed: false, reason: "CannotStart" });
  });

  test("arguments are never seen by a shell", async () => {
    expect(await exec("sh", "-c", 'test "$1" = "; exit 1"', "x", "; exit 1")).toEqual({ passed: true });
  });

  test("a command that does not end is killed with all that it started", async () => {
    const folder = await mkdtemp(join(tmpdir(), "fl-exec-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    expect(await exec("sh", "-c", `sleep 1000 & echo $! > ${folder}/pid; wait`)).toMatchObject({ reason: "Timeout" });
    const pid = Number(await readFile(join(folder, "pid"), "utf8"));
    await waitFor(() => !isRunning(pid), { what: "the grandchild to be gone" });
  });

  test.for(["exit 0", "exit 1", "wait"])("nothing outlives it in a session of its own, however it ends: %s", async (end) => {
    const folder = await mkdtemp(join(tmpdir(), "fl-exec-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const left = `setsid sh -c 'setsid sleep 1000 & echo $! >${folder}/2; echo $$ >${folder}/1; wait' >/dev/null 2>&1 &`;
    await check(2, { timeout: "2s", exec: { command: ["sh", "-c", `${left} while [ ! -s ${folder}/1 ]; do sleep 0.01; done; ${end}`] } });
    for (const name of ["1", "2"]) {
      const pid = Number(await readFile(join(folder, name), "utf8"));
      await waitFor(() => !isRunning(pid), { what: `${pid} to be gone` });
    }
  });

  test("output without end is kept within bounds", async () => {
    const result = await exec("sh", "-c", "yes | head -c 10000000; exit 1");
    expect(result.passed).toBe(false);
    expect(result.passed ? 0 : result.message.length).toBeLessThan(600);
  });

  test("nothing of the agent's environment is passed on", async () => {
    process.env["FAIRLEAD_SECRET_FOR_TEST"] = "x";
    onTestFinished(() => {
      delete process.env["FAIRLEAD_SECRET_FOR_TEST"];
    });
    expect(await exec("sh", "-c", 'test -z "$FAIRLEAD_SECRET_FOR_TEST" && test "$FAIRLEAD_ADDRESS" = 127.0.0.1')).toEqual({ passed: true });
  });
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
