import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createFleet, type Fleet, type Host, type Program } from "../fleet/fleet.ts";
import { waitFor } from "../wait-for.ts";
import { fairlead, servicesPath, startAgent, type Api } from "./agent-rig.ts";
import {
  filesOf,
  joinMachine,
  OUTSIDE,
  resolved,
  startFleetServer,
  startUpstream,
  untilResolved,
  WEB,
  type Upstream,
} from "./resolver-rig.ts";

/** Hosts whose programs read /etc/resolv.conf themselves: Debian's default. */

const ORIGINAL = "# made by hand\ndomain lab.example\nsearch lab.example\nnameserver 172.30.255.1\noptions timeout:1\n";

let fleet: Fleet<readonly [Host, Host]>;
let host: Host;
let agent: Program;
let api: Api;
let upstream: Upstream;

const stack = new AsyncDisposableStack();
beforeAll(async () => {
  fleet = stack.use(await createFleet({ hosts: 2, containersPerHost: [0, 1] }));
  host = fleet.hosts[1];
  upstream = await startUpstream(fleet.out);
  await put(ORIGINAL);
  api = await startFleetServer(fleet.hosts[0]);
  await joinMachine(host, { api, server: fleet.hosts[0], name: host.name });
  agent = await startAgent(host);
});
afterAll(() => stack.disposeAsync());

const shell = (script: string, ...args: string[]) => host.run("sh", ["-euc", script, "sh", ...args]);
const put = (text: string) => host.run("tee", ["/etc/resolv.conf"], { input: text });
const dns = (...args: string[]) => host.run(fairlead, ["dns", ...args], { reject: false, timeoutMs: 60_000 });
const read = async () => (await host.run("cat", ["/etc/resolv.conf"])).stdout;

describe("each kind of file", () => {
  beforeEach(async () => {
    await shell("rm -f /etc/resolv.conf /etc/real.conf");
    await put(ORIGINAL);
  });

  const kinds = [
    { name: "a plain file", make: "true", unmake: "true" },
    { name: "a link to a file", make: "mv /etc/resolv.conf /etc/real.conf; ln -s real.conf /etc/resolv.conf", unmake: "true" },
    {
      name: "a mount of its own, as in a container",
      make: "mv /etc/resolv.conf /etc/real.conf; touch /etc/resolv.conf; mount --bind /etc/real.conf /etc/resolv.conf",
      unmake: "umount /etc/resolv.conf",
    },
    { name: "a file of a mode and an owner of its own", make: "chmod 640 /etc/resolv.conf; chown nobody /etc/resolv.conf", unmake: "true" },
  ];
  test.for(kinds)("$name is taken and comes back byte for byte", async ({ make, unmake }) => {
    await shell(make);
    const before = await filesOf(host, "/etc");
    const preview = await dns("install");
    expect(preview.stdout).toContain("nothing was changed; `sudo fairlead dns install --write` does it");
    expect(preview.stdout).toContain("    nameserver 10.96.0.10\n");
    expect(await filesOf(host, "/etc")).toBe(before);

    const { exitCode, stderr } = await dns("install", "--write");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const text = await read();
    expect(text.match(/^nameserver.*/gm)).toEqual(["nameserver 10.96.0.10"]); // and nobody beside us
    expect(text).toMatch(/^domain lab\.example\nsearch lab\.example\noptions timeout:1$/m);
    expect(await resolved(host, WEB.name)).toBe(WEB.address);
    await untilResolved(host, OUTSIDE);
    expect(await upstream.asked()).not.toContain(WEB.name);
    const status = await dns("status");
    expect(status.exitCode).toBe(0);
    expect(status.stdout).toMatch(new RegExp(`^all other names +${fleet.out.ip}, asked by the agent$`, "m"));
    expect((await dns("install", "--write")).exitCode).toBe(0); // again changes nothing
    expect(await read()).toBe(text);

    expect((await dns("uninstall")).stdout).toContain("nothing of ours is in this host's resolver");
    expect(await filesOf(host, "/etc")).toBe(before);
    expect((await dns("status")).exitCode).toBe(1);
    await shell(unmake);
  });

  const refusals = [
    {
      name: "on a read-only file system",
      make: "mount -t tmpfs one /mnt; mv /etc/resolv.conf /mnt/; mount -o remount,ro /mnt; ln -s /mnt/resolv.conf /etc/resolv.conf",
      unmake: "umount /mnt",
      why: "it is on a read-only file system",
    },
    {
      name: "that somebody has made immutable",
      make: "mount -t tmpfs one /mnt; mv /etc/resolv.conf /mnt/; chattr +i /mnt/resolv.conf; ln -s /mnt/resolv.conf /etc/resolv.conf",
      unmake: "chattr -i /mnt/resolv.conf; umount /mnt",
      why: "it is immutable: somebody wants it to stay as it is",
    },
  ];
  test.for(refusals)("a file $name stays, and it is said why", async ({ make, unmake, why }) => {
    await shell(make);
    const before = await filesOf(host, "/etc", "/var/lib/fairlead", "/mnt");
    const refused = await dns("install", "--write");
    expect(refused.exitCode).toBe(4);
    expect(refused.stderr).toContain(`/etc/resolv.conf was not changed: ${why}`);
    const journal = /^.*\/replica\/.*\n|^.*\/upstreams\.json.*\n/gm; // the agent's own, which go on
    expect((await filesOf(host, "/etc", "/var/lib/fairlead", "/mnt")).replaceAll(journal, "")).toBe(before.replaceAll(journal, ""));
    await shell(`rm /etc/resolv.conf; ${unmake}`);
  });

  test("a link into /run belongs to whoever keeps that file: nothing is written, and it is said what to do", async () => {
    await shell("mkdir -p /run/keeper; mv /etc/resolv.conf /run/keeper/resolv.conf; ln -s /run/keeper/resolv.conf /etc/resolv.conf");
    const refused = await dns("install", "--write");
    expect(refused.exitCode).toBe(4);
    expect(refused.stdout).toContain("belongs to the program that keeps it");
    expect(await read()).toBe(ORIGINAL.trim());
    await shell("rm /etc/resolv.conf");
  });
});

test("status and lookup say whom the agent asks, with port and stub domains, and what the host's own resolver gets", async () => {
  await put(ORIGINAL);
  await agent.stop();
  const reverse = `${fleet.out.ip}:5353`;
  const dnsNames = join(import.meta.dirname, "../fleet/dns-names.ts");
  const stub = await fleet.out.spawn(process.execPath, [dnsNames, "--listen", reverse, "--name", "db.corp.example=192.0.2.81"]);
  await stub.waitForLine(/^listening/);
  agent = await startAgent(host, "--dns-stub", `corp.example=${reverse}`, "--dns-stub", `20.172.in-addr.arpa=${reverse}`);
  await dns("install", "--write");
  await untilResolved(host, WEB);
  const { stdout } = await dns("status", "-o", "json");
  expect(JSON.parse(stdout)).toMatchObject({
    others: [{ server: fleet.out.ip, ok: true }],
    othersAskedBy: "the agent",
    stubs: [
      { suffix: "corp.example", servers: [reverse] },
      { suffix: "20.172.in-addr.arpa", servers: [reverse] },
    ],
  });
  expect((await dns("status")).stdout).toMatch(new RegExp(`^\\*\\.corp\\.example +${reverse}, asked by the agent$`, "m"));

  await api.create(servicesPath, {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "db", namespace: "default" },
    spec: { type: "ExternalName", externalName: "db.corp.example" },
  });
  await untilResolved(host, { name: "db.default.svc.cluster.local", address: "192.0.2.81" });
  const rows: [args: string[], why: RegExp, host: RegExp][] = [
    [["10.96.0.99"], /why: a name of 96\.10\.in-addr\.arpa/, /getent hosts 10\.96\.0\.99\): there is no such name/],
    [[WEB.address], /Service default\/web, revision/, new RegExp(`getent hosts ${WEB.address}\\): ${WEB.name}$`, "m")],
    [["172.20.3.4"], new RegExp(`asked of ${reverse}, as the stub domain 20`), /getent hosts 172\.20\.3\.4\)/],
    [["192.168.9.9"], /asked of nobody outside/, /getent hosts 192\.168\.9\.9\)/],
    [
      ["db.default.svc.cluster.local"],
      new RegExp(`it leads to db\\.corp\\.example, .* asked of ${reverse}`),
      /ahostsv4 \S+\): 192\.0\.2\.81$/m,
    ],
    [[OUTSIDE.name], new RegExp(`fleet, asked of ${fleet.out.ip} `), /getent ahostsv4 \S+\): 192\.0\.2\.80$/m],
    [[WEB.name, "--type", "AAAA"], /Service default\/web/, /getent ahostsv6 \S+\): (nothing|there is no such name)/],
    [
      [`_http._tcp.${WEB.name}`, "--type", "SRV"],
      /Service default\/web/,
      new RegExp(`SRV of 10.96.0.10, first in .*: 0 \\d+ 80 ${WEB.name}`),
    ],
  ];
  for (const [args, why, said] of rows) {
    const found = await dns("lookup", ...args);
    expect(found.stdout, args.join(" ")).toMatch(why);
    expect(found.stdout, args.join(" ")).toMatch(said);
  }
  await stub.stop();
});

test("an agent that ends gives the host its own file back, and takes it again when it answers", async () => {
  await put(ORIGINAL);
  await dns("install", "--write");
  await agent.stop();
  expect(await read()).toBe(ORIGINAL.trim());
  expect(await resolved(host, OUTSIDE.name)).toBe(OUTSIDE.address);
  agent = await startAgent(host);
  await untilResolved(host, WEB);
  await untilResolved(host, OUTSIDE);
});

test("a host whose agent cannot answer gets its own file back, and is asked of the agent again when it can", async () => {
  await agent.kill(); // in disorder: the file stays ours
  expect(await read()).toContain("10.96.0.10");
  const other = await host.spawn(process.execPath, [join(import.meta.dirname, "../fleet/dns-names.ts"), "--listen", "10.96.0.10:53"]);
  await other.waitForLine(/^listening/);
  agent = await startAgent(host);
  await waitFor(async () => (await read()) === ORIGINAL.trim(), { what: "the host's own file", timeoutMs: 15_000 });
  expect(await resolved(host, OUTSIDE.name)).toBe(OUTSIDE.address);
  await other.stop();
  await untilResolved(host, WEB);
  await untilResolved(host, OUTSIDE);
});

test("a lease that is renewed is taken over a few times; whoever goes on writing is left alone and reported", async () => {
  for (const [i, server] of ["172.30.255.1", "172.30.255.2", "172.30.255.1"].entries()) {
    await put(`# lease ${i}\nnameserver ${server}\n`);
    await waitFor(async () => (await read()).includes("10.96.0.10"), { what: `rewrite ${i} to be taken over`, timeoutMs: 10_000 });
  }
  const last = "# lease 3\nnameserver 172.30.255.1\n";
  await put(last);
  const problem = async () =>
    JSON.stringify((await api.call("GET", "/apis/fairlead.dev/v1/fleetstatus")).body).includes(
      "rewritten by somebody else, again and again",
    );
  await waitFor(problem, { what: "the problem in the fleet's status", timeoutMs: 10_000 });
  expect(await read()).toBe(last.trim());
  expect((await dns("status")).stdout).toContain("was rewritten since");
  // Who is told to let go leaves what others have written.
  await dns("uninstall");
  expect(await read()).toBe(last.trim());
  expect((await host.run("ls", ["/etc"])).stdout).not.toContain("before-fairlead");
});

test("cleanup puts the file back, too", async () => {
  await put(ORIGINAL);
  const before = await filesOf(host, "/etc/resolv.conf");
  expect((await dns("install", "--write")).exitCode).toBe(0);
  await agent.kill(); // in disorder: the file stays ours
  expect(await read()).toContain("10.96.0.10");
  const dry = await host.run(fairlead, ["agent", "cleanup", "--dry-run"]);
  expect(dry.stdout).toContain("would remove our text of /etc/resolv.conf");
  expect((await host.run(fairlead, ["agent", "cleanup"])).stdout).toContain("nothing of Fairlead is left on this host");
  expect(await filesOf(host, "/etc/resolv.conf")).toBe(before);
});
