// What is said to a station (station.ts) and what it answers.

export interface Listen {
  readonly address: string;
  readonly port: number;
  readonly protocol: "tcp" | "udp" | "sctp";
}

export interface Ask {
  readonly address: string;
  readonly port: number;
  /** SCTP where the kernel has it (sctp.pl). */
  readonly protocol: "tcp" | "udp" | "sctp" | "icmp";
  /** The address to send from, instead of what the kernel chooses. */
  readonly source?: string;
  /** From a port that no connection of this station had for the last 28,000; absent = the kernel chooses. */
  readonly freshPorts?: boolean;
  /** So many new connections. */
  readonly times: number;
  /** Of each. */
  readonly timeoutMs: number;
}

export type Command = { readonly listen: readonly Listen[] } | { readonly ask: Ask };

export interface Seen {
  /** `address:port` of who answered (ECHO for a ping) → how often. */
  readonly answers: Readonly<Record<string, number>>;
  /** Who answered → the client addresses that it saw. */
  readonly clients: Readonly<Record<string, readonly string[]>>;
  /** ECONNREFUSED, timeout … → how often. */
  readonly failures: Readonly<Record<string, number>>;
}

export function hostPort(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
