import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { encodeQuestion } from "#agent/dns/encode-question.ts";
import { keyOfName, wireOfKey } from "#agent/dns/name.ts";
import { MAX_UDP_OCTETS, TYPE } from "#agent/dns/protocol.ts";
import { AppError, describeError } from "#proto/error.ts";
import { parseAnswer, type AnswerText, type AskedType } from "./answer-text.ts";

/** Questions of a person at this host. */

export interface Place {
  readonly address: string;
  readonly port: number;
}

export type Asked = { readonly ok: true; readonly answer: AnswerText; readonly ms: number } | { readonly ok: false; readonly why: string };

const TIMEOUT_MS = 2_000;
const TRIES = 2;

/** Over UDP, as programs do. `name` without a dot at the end; "" is the root. */
export async function askServer({ address, port }: Place, name: string, type: AskedType): Promise<Asked> {
  const key = name === "" ? "\0" : keyOfName(name);
  if (key === undefined) throw new AppError("Usage", `"${name}" is no name: labels have 1 to 63 characters, and all of it at most 253`);
  for (let tries = 1; ; tries++) {
    const id = randomInt(65_536);
    const message = encodeQuestion({ name: wireOfKey(key), type: TYPE[type], id, udpOctets: MAX_UDP_OCTETS });
    const start = performance.now();
    try {
      const answer = await exchange({ address, port }, message, (reply) => parseAnswer(reply, { id, name }));
      return { ok: true, answer, ms: Math.round((performance.now() - start) * 10) / 10 };
    } catch (error) {
      if (tries === TRIES) return { ok: false, why: describeError(error) };
    }
  }
}

async function exchange(to: Place, message: Buffer, read: (reply: Buffer) => AnswerText | undefined): Promise<AnswerText> {
  const socket = createSocket(isIPv6(to.address) ? "udp6" : "udp4");
  const late = AbortSignal.timeout(TIMEOUT_MS);
  try {
    socket.connect(to.port, to.address);
    await once(socket, "connect", { signal: late });
    socket.send(message);
    for (;;) {
      // `once` rejects with what the socket says, like a port where nobody listens.
      const [reply] = (await once(socket, "message", { signal: late })) as [Buffer];
      const answer = read(reply);
      if (answer) return answer;
    }
  } catch (error) {
    throw late.aborted ? new Error(`no answer within ${TIMEOUT_MS / 1000} s`) : error;
  } finally {
    socket.close();
  }
}

export interface HostAsked {
  /** `getent ahosts`: as every program of this host that uses the C library. */
  readonly by: string;
  readonly addresses: readonly string[];
  readonly why?: string | undefined;
}

export async function askAsPrograms(tools: KernelTools, name: string): Promise<HostAsked> {
  const by = `getent ahosts ${name}`;
  try {
    const { stdout, exitCode } = await tools.run("getent", ["ahosts", name], { accept: [2], timeoutMs: 12_000 });
    const addresses = [...new Set(stdout.split("\n").flatMap((line) => (line === "" ? [] : [line.split(/\s+/)[0] ?? ""])))];
    return exitCode === 0 ? { by, addresses } : { by, addresses: [], why: "there is no such name for the programs of this host" };
  } catch (error) {
    return { by, addresses: [], why: describeError(error) };
  }
}

/** What systemd-resolved itself says, where it runs. */
export async function askResolved(tools: KernelTools, name: string): Promise<HostAsked> {
  const by = `resolvectl query ${name}`;
  try {
    const { stdout } = await tools.run("resolvectl", ["--legend=no", "query", name], { timeoutMs: 15_000 });
    return { by, addresses: stdout.split("\n").flatMap((line) => /(?:^\S+: |^\s+)([0-9a-f.:]+)(?:\s|$)/.exec(line)?.[1] ?? []) };
  } catch (error) {
    return { by, addresses: [], why: describeError(error) };
  }
}
