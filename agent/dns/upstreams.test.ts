import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "#test/wait-for.ts";
import { chooseUpstreams, followHostUpstreams, parseResolvConf } from "./upstreams.ts";

test("servers of a resolv.conf are read, other lines are not", () => {
  const text = "# nameserver 1.1.1.1\nsearch lan\nnameserver 192.168.1.1\n  nameserver\tfe80::1%eth0 \nnameserver what\noptions edns0\n";
  expect(parseResolvConf(text)).toEqual(["192.168.1.1", "fe80::1%eth0"]);
});

const own = ["127.0.0.153", "10.96.0.10"];
test.for([
  ["a plain file", ["192.168.1.1", "9.9.9.9"], [], ["192.168.1.1", "9.9.9.9"]],
  ["systemd-resolved's stub: its own list", ["127.0.0.53"], ["192.168.1.1"], ["192.168.1.1"]],
  ["never ourselves", ["127.0.0.153", "192.168.1.1"], [], ["192.168.1.1"]],
  ["a list of resolved that names us, too", ["127.0.0.53"], ["127.0.0.153", "192.168.1.1"], ["192.168.1.1"]],
  ["only ourselves: what resolved knows", ["10.96.0.10"], ["192.168.1.1"], ["192.168.1.1"]],
  ["nobody at all", ["127.0.0.153"], [], []],
] as const)("%s", ([, host, resolved, want]) => {
  expect(chooseUpstreams(host, resolved, own)).toEqual(want);
});

test("a resolv.conf that is replaced is read again", async () => {
  const folder = await mkdtemp(join(tmpdir(), "fairlead-dns-"));
  const stop = new AbortController();
  const paths = { host: join(folder, "resolv.conf"), resolved: join(folder, "none") };
  await writeFile(paths.host, "nameserver 192.168.1.1\n");
  let seen: readonly string[] = [];
  const following = followHostUpstreams({ paths, own, onChange: (found) => (seen = found.map(({ address }) => address)) }, stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await following;
    await rm(folder, { recursive: true });
  });
  await waitFor(() => seen[0] === "192.168.1.1", { what: "the first server" });
  await writeFile(`${paths.host}.new`, "nameserver 192.168.1.2\n");
  await rename(`${paths.host}.new`, paths.host);
  await waitFor(() => seen[0] === "192.168.1.2", { what: "the second server" });
});
