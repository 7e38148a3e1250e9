import { createSocket } from "node:dgram";
import type { Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { once } from "node:events";

/** Handles one message; what it sends back goes to `reply`, at once or later, or never. */
export type MessageHandler = (message: Buffer, from: { readonly address: string; readonly transport: "udp" | "tcp" }, reply: Reply) => void;
/** undefined = this message gets no answer. */
export type Reply = (message: Buffer | undefined) => void;

/** Counts what is not answered. */
export type OnDrop = (reason: string) => void;

export interface ListenHandlers {
  readonly accepts: (client: string) => boolean;
  readonly onMessage: MessageHandler;
  readonly onDrop: OnDrop;
  /** Others share the address: the kernel spreads the clients over them. */
  readonly reusePort: boolean;
}

/** `lookup` without a resolver: there are only addresses here, and the default goes through the thread pool. */
export const literal = (host: string, _options: unknown, callback: (error: null, address: string, family: number) => void): void =>
  callback(null, host, isIPv6(host) ? 6 : 4);

/** A bound UDP socket. Answers leave from the address that was asked, because each address has a socket of its own. */
export async function bindUdp(address: string, port: number, { onMessage, onDrop, reusePort }: ListenHandlers): Promise<Socket> {
  const socket = createSocket({ type: isIPv6(address) ? "udp6" : "udp4", ipv6Only: isIPv6(address), lookup: literal, reusePort });
  socket.on("message", (message, { address: from, port: fromPort }) => {
    // No answer can be sent to port 0: dgram throws, which has ended other servers.
    if (fromPort === 0) {
      onDrop("source-port-0");
      return;
    }
    onMessage(message, { address: from, transport: "udp" }, (answer) => {
      if (!answer) return;
      try {
        socket.send(answer, 0, answer.length, fromPort, from, (error) => {
          if (error) onDrop("send-failed");
        });
      } catch {
        onDrop("send-failed"); // closed meanwhile, or an address that this socket cannot send to
      }
    });
  });
  try {
    const listening = once(socket, "listening"); // before bind, which with our lookup is done at once
    socket.bind({ address, port, exclusive: true });
    await listening;
  } catch (error) {
    socket.close();
    throw error;
  }
  socket.on("error", () => onDrop("socket-error"));
  return socket;
}
