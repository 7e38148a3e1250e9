import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
import { pause } from "#proto/backoff.ts";
import { encodeQuestion } from "./encode-question.ts";
import type { ListenAddress } from "./listen.ts";
import { keyOfName, wireOfKey } from "./name.ts";
import { FLAG, HEADER_OCTETS, RCODE_MASK, TYPE } from "./protocol.ts";
import { literal } from "./udp.ts";

/** Asks ourselves what every client may ask, over the sockets that they ask: the only proof that we answer. */
export interface SelfQuery {
  run(signal: AbortSignal): Promise<void>;
  /** An address that has not answered for a while. */
  fault(): string | undefined;
  /** How long the last answer took; undefined = there was none. */
  lastMs(): number | undefined;
}

const EVERY_MS = 2000;
/** An address that does not answer is asked again so soon. */
const AGAIN_MS = 1000;
/** A busy machine may miss one. */
const SILENT_MS = 3000;

export function createSelfQuery(domain: string, places: () => readonly ListenAddress[]): SelfQuery {
  const name = `dns-version.${domain}`;
  /** Since when an address is silent; 0 = it answers. */
  const silentSince = new Map<string, number>();
  let lastMs: number | undefined;

  const look = async (place: ListenAddress, signal: AbortSignal): Promise<void> => {
    const key = `${place.address}:${place.port}`;
    const startedMs = performance.now();
    const isAnswered = await ask(place, name, signal);
    lastMs = isAnswered ? performance.now() - startedMs : undefined;
    if (isAnswered) silentSince.delete(key);
    else if (!silentSince.has(key)) silentSince.set(key, startedMs);
  };

  return {
    async run(signal) {
      while (!signal.aborted) {
        const bound = places();
        for (const key of silentSince.keys()) if (!bound.some(({ address, port }) => key === `${address}:${port}`)) silentSince.delete(key);
        await Promise.all([pause(AGAIN_MS, signal), ...bound.map((place) => look(place, signal))]);
        if (silentSince.size === 0 && bound.length > 0) await pause(EVERY_MS - AGAIN_MS, signal);
      }
    },
    fault() {
      const nowMs = performance.now();
      const silent = Array.from(silentSince).filter(([, sinceMs]) => nowMs - sinceMs > SILENT_MS);
      return silent.length === 0 ? undefined : `no answer at ${silent.map(([key]) => key).join(", ")} to a question for ${name}`;
    },
    lastMs: () => lastMs,
  };
}

/** True = there was an answer with a record, within a second. From a port of its own each time, so that every member has its turn. */
function ask({ address, port }: ListenAddress, name: string, signal: AbortSignal): Promise<boolean> {
  const question = encodeQuestion({ name: wireOfKey(keyOfName(name) ?? "\0"), type: TYPE.TXT, id: randomInt(0x10000) });
  return new Promise((resolve) => {
    const socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", lookup: literal });
    const end = (isAnswered: boolean): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
      socket.removeAllListeners("close").close();
      resolve(isAnswered);
    };
    const abort = (): void => end(false);
    const timer = setTimeout(abort, AGAIN_MS);
    signal.addEventListener("abort", abort, { once: true });
    socket.once("error", abort);
    socket.on("message", (reply) => {
      const isOurs = reply.length > question.length && reply.readUInt16BE(0) === question.readUInt16BE(0);
      if (!isOurs || reply.compare(question, HEADER_OCTETS, question.length, HEADER_OCTETS, question.length) !== 0) return;
      const flags = reply.readUInt16BE(2);
      end((flags & FLAG.QR) !== 0 && (flags & RCODE_MASK) === 0 && reply.readUInt16BE(6) > 0);
    });
    socket.send(question, port, address, (error) => {
      if (error) end(false);
    });
  });
}
