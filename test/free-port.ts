import { randomInt } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server } from "node:net";

// Port 0 gives a number that is free over UDP or over TCP, not over both, and that any other program's outgoing connection may get as soon as it is
// let go. So the number is drawn below those that the kernel gives away (ip_local_port_range begins at 32768), and drawn again when somebody has it.

const LOWEST = 12_000;
const HIGHEST = 29_999; // node ports begin at 30000
const TRIES = 100;

/** A port that is free over UDP and TCP, for who binds it later. */
export async function freePort(address = "127.0.0.1"): Promise<number> {
  const tcp = createServer();
  const udp = await bindBoth(tcp, address);
  const { port } = udp.address();
  await Promise.all([once(udp.close(), "close"), once(tcp.close(), "close")]);
  return port;
}

/** Makes `tcp` listen, and binds a socket for UDP to the same port. */
export async function bindBoth(tcp: Server, address = "127.0.0.1", draw = (): number => randomInt(LOWEST, HIGHEST + 1)): Promise<Socket> {
  for (let triesLeft = TRIES; ; triesLeft--) {
    const port = draw();
    const udp = createSocket(address.includes(":") ? "udp6" : "udp4");
    try {
      await once(udp.bind(port, address), "listening");
      await once(tcp.listen(port, address), "listening");
      return udp;
    } catch (error) {
      udp.close();
      if (triesLeft === 1) throw error;
    }
  }
}
