import { mkdir, mkdtemp, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { chooseUpstreams, followHostUpstreams, parseResolvConf, type UpstreamSources } from "./upstreams.ts";

test("servers of a resolv.conf are read, other lines are not", () => {
  const text = "# nameserver 1.1.1.1\nsearch lan\nnameserver 192.168.1.1\n  nameserver\tfe80::1%eth0 \nnameserver what\noptions edns0\n";
  expect(parseResolvConf(text)).toEqual(["192.168.1.1", "fe80::1%eth0"]);
});

const own = ["10.96.0.10", "fd00::a"];
test.for<[string, Partial<UpstreamSources>, string[]]>([
  ["a plain file", { host: ["192.168.1.1", "9.9.9.9"] }, ["192.168.1.1", "9.9.9.9"]],
  ["systemd-resolved's stub: its own list", { host: ["127.0.0.53"], resolved: ["192.168.1.1"] }, ["192.168.1.1"]],
  ["never ourselves", { host: ["127.0.0.153", "192.168.1.1"] }, ["192.168.1.1"]],
  ["a list of resolved that names us, too", { host: ["127.0.0.53"], resolved: ["127.0.0.153", "192.168.1.1"] }, ["192.168.1.1"]],
  ["only ourselves: what resolved knows", { host: ["10.96.0.10"], resolved: ["192.168.1.1"], known: ["192.168.1.9"] }, ["192.168.1.1"]],
  [
    "only ourselves: whom the host named before",
    { host: ["10.96.0.10"], known: ["192.168.1.9"], backup: ["192.168.1.8"] },
    ["192.168.1.9"],
  ],
  [
    "only ourselves, by `dns install`: the original that it keeps, which follows the network",
    { host: ["10.96.0.10"], adopted: ["192.168.2.1"], known: ["192.168.1.9"], backup: ["192.168.1.8"] },
    ["192.168.2.1"],
  ],
  ["only ourselves, and nobody known: the host's own copy", { host: ["10.96.0.10"], backup: ["192.168.1.8"] }, ["192.168.1.8"]],
  ["somebody else again: not whom it named before", { host: ["192.168.1.1"], known: ["192.168.1.9"] }, ["192.168.1.1"]],
  ["NetworkManager's dnsmasq: NetworkManager's own list", { host: ["127.0.0.1"], behind: [["192.168.1.1"], []] }, ["192.168.1.1"]],
  ["resolvconf's dnsmasq: what it was told", { host: ["127.0.0.1"], behind: [[], ["127.0.0.1", "192.168.1.2"]] }, ["192.168.1.2"]],
  ["a resolver of this host behind which nobody is known", { host: ["127.0.0.1"], resolved: ["192.168.1.1"] }, ["127.0.0.1"]],
  ["a resolver of this host beside another server", { host: ["127.0.0.1", "192.168.1.1"] }, ["127.0.0.1", "192.168.1.1"]],
  [
    "systemd-resolved's stub before lists that somebody left",
    { host: ["127.0.0.53"], resolved: ["192.168.1.1"], behind: [["192.168.1.9"]] },
    ["192.168.1.1"],
  ],
  [
    "only ourselves, and NetworkManager knows whom else",
    { host: ["10.96.0.10"], behind: [["192.168.1.1"]], known: ["192.168.1.9"] },
    ["192.168.1.1"],
  ],
  ["never ourselves, however it is written", { host: ["FD00:0::a", "fd00::b"] }, ["fd00::b"]],
  ["a link-local server", { host: ["fe80::1%eth0"] }, ["fe80::1%eth0"]],
  [
    "never our place on each host, also where we listen elsewhere",
    { host: ["127.0.0.153"], behind: [["127.0.0.153", "192.168.1.1"]] },
    ["192.168.1.1"],
  ],
  [
    "eight at most",
    { host: Array.from({ length: 20 }, (_, i) => `192.168.1.${i}`) },
    Array.from({ length: 8 }, (_, i) => `192.168.1.${i}`),
  ],
  ["nobody at all", { host: ["127.0.0.153"], known: ["10.96.0.10"] }, []],
])("%s", ([, sources, want]) => {
  expect(chooseUpstreams({ host: [], resolved: [], behind: [], adopted: [], known: [], backup: [], ...sources }, own)).toEqual(want);
});

async function aHost() {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-dns-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const paths = { host: join(folder, "resolv.conf"), resolved: join(folder, "none"), behind: [join(folder, "interface")] };
  const knownFile = join(folder, "state", "upstreams.json");
  return {
    folder,
    knownFile,
    name: async (...servers: string[]) => {
      await writeFile(`${paths.host}.new`, servers.map((server) => `nameserver ${server}\n`).join(""));
      await rename(`${paths.host}.new`, paths.host);
    },
    follow: () => {
      const stop = new AbortController();
      const seen: string[] = [];
      const onChange = (found: readonly { address: string }[]) => void seen.push(found.map(({ address }) => address).join(" "));
      const following = followHostUpstreams({ paths, own, knownFile, onChange, log: { warn: () => undefined } }, stop.signal);
      const end = async () => {
        stop.abort();
        await following;
      };
      onTestFinished(end);
      return { seen, end };
    },
  };
}

test("a resolv.conf that is replaced is read again", async () => {
  const host = await aHost();
  await host.name("192.168.1.1");
  const { seen } = host.follow();
  await waitFor(() => seen.at(-1) === "192.168.1.1", { what: "the first server" });
  await host.name("192.168.1.2");
  await waitFor(() => seen.at(-1) === "192.168.1.2", { what: "the second server" });
});

test("a resolv.conf that a link leads to is read again when it is replaced there", async () => {
  const host = await aHost();
  const real = join(host.folder, "run");
  await mkdir(real);
  const name = async (server: string): Promise<void> => {
    await writeFile(join(real, "list.new"), `nameserver ${server}\n`);
    await rename(join(real, "list.new"), join(real, "list"));
  };
  await name("192.168.1.1");
  await symlink("run/list", join(host.folder, "resolv.conf"));
  const { seen } = host.follow();
  await waitFor(() => seen.at(-1) === "192.168.1.1", { what: "the first server" });
  await name("192.168.1.2");
  await waitFor(() => seen.at(-1) === "192.168.1.2", { what: "the second server", timeoutMs: 3000 }); // before the recheck
  await rm(join(host.folder, "resolv.conf"));
  await host.name("192.168.1.3");
  await waitFor(() => seen.at(-1) === "192.168.1.3", { what: "a plain file in its place", timeoutMs: 3000 });
});

test("lists that resolvconf keeps for each interface are read while the host's names a stub, those of lo are not", async () => {
  const host = await aHost();
  await host.name("127.0.0.1");
  const { seen } = host.follow();
  await waitFor(() => seen.at(-1) === "127.0.0.1", { what: "the stub, behind which nobody is known" });
  const lists = join(host.folder, "interface");
  await mkdir(lists);
  await writeFile(join(lists, "lo.dnsmasq"), "nameserver 127.0.0.1\n");
  await writeFile(join(lists, "eth0.dhclient"), "nameserver 192.168.1.1\n");
  await waitFor(() => seen.at(-1) === "192.168.1.1", { what: "the server of eth0" });
});

test("a host that is told to ask only us keeps the servers that it named before, also after a restart", async () => {
  const host = await aHost();
  await host.name("192.168.1.1", "10.96.0.10", "192.168.1.2");
  const first = host.follow();
  await waitFor(() => first.seen.length > 0, { what: "the servers" });
  await host.name("10.96.0.10");
  await host.name("10.96.0.10", "127.0.0.153");
  await first.end();
  expect(first.seen).toEqual(["192.168.1.1 192.168.1.2"]);
  expect((await stat(host.knownFile)).mode & 0o777).toBe(0o600);
  expect((await stat(dirname(host.knownFile))).mode & 0o777).toBe(0o700);

  const second = host.follow();
  await waitFor(() => second.seen.length > 0, { what: "the servers, after the restart" });
  expect(second.seen).toEqual(["192.168.1.1 192.168.1.2"]);
  await host.name("192.168.1.3"); // its network has changed
  await waitFor(() => second.seen.at(-1) === "192.168.1.3", { what: "the new server" });
});

test.for(["", "{}", "[1]", '["not an address"]', `[${Array(17).fill('"192.168.1.1"').join()}]`])(
  "a file of known servers that says %j knows nobody",
  async (text) => {
    const host = await aHost();
    await mkdir(dirname(host.knownFile));
    await writeFile(host.knownFile, text);
    await host.name("10.96.0.10");
    const { seen } = host.follow();
    await waitFor(() => seen.length > 0, { what: "the answer" });
    expect(seen).toEqual([""]);
  },
);

test("a file of known servers that is deleted is written again", async () => {
  const host = await aHost();
  await host.name("192.168.1.1");
  const { seen } = host.follow();
  await waitFor(() => seen.length > 0, { what: "the server" });
  await rm(dirname(host.knownFile), { recursive: true });
  await host.name("192.168.1.1");
  await waitFor(() => stat(host.knownFile), { what: "the file" });
});
