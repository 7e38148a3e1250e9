import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { bindTcp } from "./tcp.ts";
import type { TcpListener } from "./tcp.ts";
import { bindUdp } from "./udp.ts";
import type { ListenHandlers } from "./udp.ts";

/** One address and port to answer at, over UDP and TCP. Port 0 = any free one, the same for both. */
export interface ListenAddress {
  readonly address: string;
  readonly port: number;
}

export type ListenState = { readonly kind: "bound"; readonly at: ListenAddress } | { readonly kind: "waiting"; readonly problem: string };

const FIRST_RETRY_MS = 50;
const LAST_RETRY_MS = 1000;
/** For the answers that are on their way when we stop. */
const DRAIN_MS = 100;

/** Answers at one address until the signal. An address that is taken, or not there yet, is tried again and again: both may change. */
export async function listenAt(
  wanted: ListenAddress,
  handlers: ListenHandlers,
  signal: AbortSignal,
  onState: (state: ListenState) => void,
): Promise<void> {
  for (let retryMs = FIRST_RETRY_MS; !signal.aborted; retryMs = Math.min(LAST_RETRY_MS, retryMs * 2)) {
    const listener = await bindBoth(wanted, handlers).catch((error: unknown) => describe(wanted, error));
    if (typeof listener !== "string") {
      onState({ kind: "bound", at: { address: wanted.address, port: listener.port } });
      await aborted(signal);
      return listener.close();
    }
    onState({ kind: "waiting", problem: listener });
    await sleep(retryMs, undefined, { signal }).catch(() => undefined);
  }
}

interface Listener {
  readonly port: number;
  close(): Promise<void>;
}

async function bindBoth({ address, port }: ListenAddress, handlers: ListenHandlers): Promise<Listener> {
  const udp = await bindUdp(address, port, handlers);
  const udpPort = udp.address().port;
  let tcp: TcpListener;
  try {
    tcp = await bindTcp(address, udpPort, handlers);
  } catch (error) {
    udp.close();
    throw error;
  }
  return {
    port: udpPort,
    async close() {
      await Promise.all([tcp.close(DRAIN_MS), sleep(DRAIN_MS)]);
      udp.close();
    },
  };
}

function describe({ address, port }: ListenAddress, error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
  const why: Readonly<Record<string, string>> = {
    EADDRINUSE: `another program holds port ${port} there: find it with \`ss -lunp 'sport = :${port}'\``,
    EADDRNOTAVAIL: "this host does not have the address (yet)",
    EACCES: `ports below 1024 need root or CAP_NET_BIND_SERVICE`,
  };
  return `DNS does not answer at ${address}:${port}: ${why[code] ?? code}`;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await once(signal, "abort");
}
