// "ADDR:PORT" and "[ADDR6]:PORT" on the command lines of the small test programs.
export function parseListen(text: string): { host: string; port: number } {
  const { host, port } = /^\[?(?<host>[^\]]+)\]?:(?<port>\d+)$/.exec(text)?.groups ?? {};
  if (host === undefined || port === undefined) throw new Error(`bad address ${text}: want ADDR:PORT or [ADDR6]:PORT`);
  return { host, port: Number(port) };
}

// An IPv4 client of a socket that listens on :: as the IPv4 address it is.
export function clientAddress(address: string | undefined): string {
  return (address ?? "gone").replace(/^::ffff:/, "");
}
