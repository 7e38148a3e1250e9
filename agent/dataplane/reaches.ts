import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";

/** Has the kernel a way to there, for a process of this host? Asks the routing table without a process being started, and sends nothing. */
export async function reaches(address: string): Promise<boolean> {
  const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
  try {
    socket.connect(9, address); // any port: discard
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.close();
  }
}
