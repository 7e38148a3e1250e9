import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import type { KernelTools } from "#agent/dataplane/exec.ts";
import { encodeQuestion } from "#agent/dns/encode-question.ts";
import { keyOfName, wireOfKey } from "#agent/dns/name.ts";
import { MAX_UDP_OCTETS, TYPE } from "#agent/dns/protocol.ts";
import { DNS_PORT } from "#agent/dns/server-address.ts";
import { parseResolvConf } from "#agent/dns/upstreams.ts";
import { readResolvConf } from "#agent/host-resolver/look.ts";
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
  readonly answers: readonly string[];
  readonly why?: string | undefined;
}

export async function askAsPrograms(tools: KernelTools, name: string): Promise<HostAsked> {
  return askGetent(tools, ["ahosts", name], firstOf);
}

function firstOf(words: readonly string[]): readonly string[] {
  return words.slice(0, 1);
}

/** `read`: what a line says that was cut into words. */
async function askGetent(
  tools: KernelTools,
  args: readonly string[],
  read: (words: readonly string[]) => readonly string[],
): Promise<HostAsked> {
  const by = `getent ${args.join(" ")}`;
  try {
    const { stdout, exitCode } = await tools.run("getent", args, { accept: [2], timeoutMs: 12_000 });
    const lines = stdout.split("\n").filter((line) => line !== "");
    const answers = [...new Set(lines.flatMap((line) => read(line.split(/\s+/))))];
    return exitCode === 0 ? { by, answers } : { by, answers: [], why: "there is no such name for the programs of this host" };
  } catch (error) {
    return { by, answers: [], why: describeError(error) };
  }
}

export interface HostQuestion {
  readonly name: string;
  readonly type: AskedType;
  /** Whose name is wanted, where it is a reverse one. */
  readonly address: string | undefined;
}

/** By the way that this host's programs go for such a question; other kinds than addresses and their names the C library does not ask for. */
export async function askHost(tools: KernelTools, { name, type, address }: HostQuestion): Promise<HostAsked> {
  if (address !== undefined) return askGetent(tools, ["hosts", address], ([, ...names]) => names);
  if (type === "A") return askGetent(tools, ["ahostsv4", name], firstOf);
  // It gives addresses of IPv4 in the other form where there are none of IPv6.
  if (type === "AAAA") return askGetent(tools, ["ahostsv6", name], (words) => firstOf(words).filter((one) => !one.startsWith("::ffff:")));
  const [server] = parseResolvConf((await readResolvConf()).text);
  const by = `${type} of ${server ?? "nobody"}, first in /etc/resolv.conf`;
  if (server === undefined) return { by, answers: [], why: "it names no server" };
  const asked = await askServer({ address: server, port: DNS_PORT }, name, type);
  if (!asked.ok) return { by, answers: [], why: asked.why };
  return { by, answers: asked.answer.records.filter((record) => record.type === type).map(({ data }) => data), why: asked.answer.rcode };
}

/** What systemd-resolved itself says, where it runs. */
export async function askResolved(tools: KernelTools, name: string): Promise<HostAsked> {
  const by = `resolvectl query ${name}`;
  try {
    const { stdout } = await tools.run("resolvectl", ["--legend=no", "query", name], { timeoutMs: 15_000 });
    return { by, answers: stdout.split("\n").flatMap((line) => /(?:^\S+: |^\s+)([0-9a-f.:]+)(?:\s|$)/.exec(line)?.[1] ?? []) };
  } catch (error) {
    return { by, answers: [], why: describeError(error) };
  }
}
