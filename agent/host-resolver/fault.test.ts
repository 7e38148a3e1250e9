import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { resolvConfFault } from "./fault.ts";

async function hostWith(resolvConf: string): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "fairlead-resolver-"));
  onTestFinished(() => rm(root, { recursive: true }));
  await mkdir(join(root, "etc"));
  await writeFile(join(root, "etc/resolv.conf"), resolvConf);
  return root;
}

const own = ["127.0.0.153", "10.96.0.10"];
test.for([
  [
    "the host's own copy",
    "nameserver 192.0.2.1\n",
    [],
    "put back what stood there: sudo cp /etc/resolv.conf.before-fairlead /etc/resolv.conf && ",
  ],
  [
    "whom it named before, without a copy",
    undefined,
    ["192.0.2.7", "192.0.2.8"],
    "printf 'nameserver 192.0.2.7\\nnameserver 192.0.2.8\\n' | sudo tee",
  ],
  ["what else there is, with a copy that names us, too", "nameserver 10.96.0.10\n", [], "put your network's own name servers there"],
] as const)("a resolv.conf that still names us is a fault that says to put there: %s", async ([, backup, known, hint]) => {
  const root = await hostWith("nameserver 10.96.0.10\n");
  if (backup !== undefined) await writeFile(join(root, "etc/resolv.conf.before-fairlead"), backup);
  expect(await resolvConfFault({ own, known, isKnownHost: true, root })).toMatchObject({
    message: expect.stringContaining("/etc/resolv.conf still names 10.96.0.10") as unknown,
    hint: expect.stringContaining(hint) as unknown,
  });
});

test("a resolv.conf that differs from the copy names us, where the fleet's addresses are not known any more", async () => {
  const root = await hostWith("nameserver 10.96.0.10\n");
  const check = { own: ["127.0.0.153"], known: [], isKnownHost: false, root };
  expect(await resolvConfFault(check)).toBeUndefined(); // whoever that is
  await writeFile(join(root, "etc/resolv.conf.before-fairlead"), "nameserver 192.0.2.1\n");
  expect((await resolvConfFault(check))?.message).toContain("10.96.0.10");
});

test("a resolv.conf that names others is no fault", async () => {
  const root = await hostWith("nameserver 192.0.2.1\n");
  expect(await resolvConfFault({ own, known: ["192.0.2.9"], isKnownHost: true, root })).toBeUndefined();
});
