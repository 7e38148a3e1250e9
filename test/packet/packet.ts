/** What the tracers of all drivers are asked, and what they answer: the first packet of a connection, and every way that it may go. */

export interface Packet {
  /** Who sends: a process of the host itself, or somebody whose packets the host forwards or takes in. */
  readonly origin: "host" | "forwarded";
  readonly source: string;
  readonly address: string;
  /** icmp: an echo request, of either family. */
  readonly protocol: "tcp" | "udp" | "sctp" | "icmp";
  /** 0 for icmp. */
  readonly port: number;
}

export interface Outcome {
  /** `address:port` (`[address]:port` for IPv6) that the packet leaves for; or REJECT, DROP; or ECHO: the host itself answers a ping. */
  readonly to: string;
  readonly masqueraded: boolean;
  readonly share: number;
  /** Where the driver remembers the client from now on (affinity), in the driver's own words. */
  readonly remembered: string | undefined;
}

export interface Surroundings {
  /** Addresses of the host itself; loopback is always one. */
  readonly hostIps: readonly string[];
  /** place (Outcome.remembered) → clients that it has and that have not expired. */
  readonly remembered?: ReadonlyMap<string, ReadonlySet<string>>;
}
