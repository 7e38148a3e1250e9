import { execa } from "execa";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { freePort } from "#test/free-port.ts";
import { waitFor } from "#test/wait-for.ts";

// Debian's dnsmasq and unbound, on a port of 127.0.0.1, with the same names as far as each can have them.

export interface Server {
  readonly address: string;
  readonly port: number;
}

const LONG = ["a".repeat(255), "b".repeat(200)] as const;
const many = (count: number) => Array.from({ length: count }, (_, i) => `198.51.100.${i + 1}`);

const DNSMASQ = [
  "local=/test/",
  "local-ttl=60",
  "host-record=www.test,192.0.2.1,2001:db8::1",
  "cname=alias.test,www.test",
  "cname=alias2.test,alias.test",
  "mx-host=mx.test,www.test,10",
  "srv-host=_http._tcp.test,www.test,80,1,2",
  "txt-record=txt.test,short",
  `txt-record=long.test,${LONG.join(",")}`,
  "naptr-record=naptr.test,10,20,S,SIP+D2U,,_sip._udp.test",
  "caa-record=caa.test,0,issue,ca.test",
  "ptr-record=1.2.0.198.in-addr.arpa,www.test",
  "dns-rr=odd.test,65280,0102deadbeef",
  "dns-rr=https.test,65,000100",
  ...many(60).map((address) => `host-record=big.test,${address}`),
  ...many(250).map((address) => `host-record=huge.test,${address}`),
];

const UNBOUND = [
  "test. 900 IN SOA ns.test. host.test. 1 7200 1800 86400 20",
  "www.test. 60 IN A 192.0.2.1",
  "www.test. 60 IN AAAA 2001:db8::1",
  "alias.test. 60 IN CNAME www.test.",
  "mx.test. 60 IN MX 10 www.test.",
  "_http._tcp.test. 60 IN SRV 1 2 80 www.test.",
  'txt.test. 60 IN TXT "short"',
  `long.test. 60 IN TXT ${LONG.map((text) => `"${text}"`).join(" ")}`,
  'naptr.test. 60 IN NAPTR 10 20 "S" "SIP+D2U" "" _sip._udp.test.',
  'caa.test. 60 IN CAA 0 issue "ca.test"',
  "odd.test. 60 IN TYPE65280 \\\\# 6 0102deadbeef",
  "https.test. 60 IN TYPE65 \\\\# 3 000100",
  ...many(60).map((address) => `big.test. 60 IN A ${address}`),
  ...many(250).map((address) => `huge.test. 60 IN A ${address}`),
];

/** `extra`: more lines of configuration, like where it asks for what it does not know. */
export async function startDnsmasq(extra: readonly string[] = []): Promise<Server> {
  const port = await freePort();
  const config = [
    "no-resolv",
    "no-hosts",
    "bind-interfaces",
    "listen-address=127.0.0.1",
    `port=${port}`,
    "pid-file",
    "user=root",
    ...DNSMASQ,
    ...extra,
  ];
  return start("dnsmasq", ["--keep-in-foreground", "--conf-file={}"], config, port);
}

export async function startUnbound(): Promise<Server> {
  const port = await freePort();
  const server = [
    `interface: 127.0.0.1@${port}`,
    'chroot: ""',
    'username: ""',
    'pidfile: ""',
    "use-syslog: no",
    "do-ip6: no",
    "num-threads: 1",
    'module-config: "iterator"',
    "local-zone: test. static",
    ...UNBOUND.map((record) => `local-data: '${record.replaceAll("\\\\", "\\")}'`),
  ];
  return start(
    "unbound",
    ["-d", "-p", "-c", "{}"],
    ["server:", ...server.map((line) => `  ${line}`), "remote-control:", "  control-enable: no"],
    port,
  );
}

/** `{}` in the arguments is the file of the configuration. */
async function start(program: string, args: readonly string[], config: readonly string[], port: number): Promise<Server> {
  const folder = await mkdtemp(join(tmpdir(), `fl-${program}-`));
  const file = join(folder, "server.conf");
  await writeFile(file, `${config.join("\n")}\n`);
  const running = execa(
    program,
    args.map((arg) => arg.replace("{}", file)),
    {
      reject: false,
      all: true,
      env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` },
    },
  );
  let output: string | undefined;
  void running.then(({ all, message }) => (output = `${message ?? ""} ${all}`));
  onTestFinished(async () => {
    running.kill("SIGTERM");
    await running;
    await rm(folder, { recursive: true, force: true });
  });
  const server = { address: "127.0.0.1", port };
  await waitFor(
    async () => {
      if (output !== undefined) throw new Error(output);
      return (await dig(server, "www.test")).includes("192.0.2.1");
    },
    { what: `${program} to answer`, timeoutMs: 15_000 },
  );
  return server;
}

export async function dig({ address, port }: Server, ...args: readonly string[]): Promise<string> {
  const { stdout } = await execa("dig", [`@${address}`, "-p", `${port}`, "+tries=1", "+time=6", ...args], {
    reject: false,
    timeout: 15_000,
  });
  return stdout;
}
