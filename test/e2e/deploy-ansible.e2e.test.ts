import { execa } from "execa";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { buildDeb, layOutTree } from "#tools/package/deb.ts";
import { layOutProgram } from "#tools/package/program-files.ts";
import { createFleet } from "../fleet/fleet.ts";
import { openSystemdTree, type SystemdTree } from "../fleet/systemd-tree.ts";

/** The role of deploy/ansible, by Ansible, on two booted Debians. */

const checkout = join(import.meta.dirname, "../..");
const playbook = join(checkout, "deploy/ansible/site.yml");
const architecture = process.arch === "arm64" ? "arm64" : "amd64";

test("Ansible's role makes a fleet of two, and running it again changes nothing", { timeout: 600_000 }, async () => {
  await using stack = new AsyncDisposableStack();
  await mkdir(join(checkout, "dist"), { recursive: true });
  const folder = stack.adopt(await mkdtemp(join(checkout, "dist/ansible-")), (made) => rm(made, { recursive: true, force: true }));
  const fleet = stack.use(await createFleet({ hosts: 2 }));
  const trees: SystemdTree[] = [];
  for (const [i, host] of fleet.hosts.entries()) {
    const tree = stack.use(await openSystemdTree(fleet, host, "managed"));
    await tree.write("/etc/hostname", `vm-${i + 1}\n`);
    await tree.write("/etc/machine-id", `fa1f1ead00000000000000000000000${i + 1}\n`);
    await tree.boot();
    trees.push(tree);
  }
  const [deb, inventory] = [await buildPackage(folder), await writeInventory(folder, trees)];

  const first = await play(folder, inventory, deb);
  expect(first.exitCode, first.all).toBe(0);
  const status = await trees[0]?.run("fairlead", ["status"], { reject: false });
  expect(status?.stdout).toMatch(/^Nodes: +2 of 2 ready$/m);
  for (const tree of trees) {
    expect((await tree.run("systemctl", ["is-enabled", "fairlead-agent"])).stdout).toBe("enabled");
    expect((await tree.run("dig", ["+short", "@10.96.0.10", "dns-version.cluster.local", "TXT"])).stdout).toBe('"1.1.0"');
  }

  const second = await play(folder, inventory, deb);
  expect(second.exitCode, second.all).toBe(0);
  expect(second.all.match(/changed=\d+/g)).toEqual(["changed=0", "changed=0"]);
});

async function buildPackage(folder: string): Promise<string> {
  const release = { version: "0.1.0~test1", architecture, epoch: 1_700_000_000 } as const;
  const [program, tree] = [join(folder, "program"), join(folder, "tree")];
  await layOutProgram(program, release);
  await layOutTree(tree, program, { epoch: release.epoch, manuals: [] });
  return buildDeb(tree, release, { out: folder, compression: "none" });
}

/** Where Ansible would start ssh it starts a script of ours, which does as sshd does: the command is one text, Ansible's own, for the shell over there. */
async function writeInventory(folder: string, trees: readonly SystemdTree[]): Promise<string> {
  const leaders = trees.map(({ host, leader = "" }) => `  ${host.ip}) leader=${leader} ;;`);
  const ssh = join(folder, "ssh");
  const script = [
    "#!/bin/bash",
    'case "${*: -2:1}" in', // options, host, command
    ...leaders,
    "  *) exit 255 ;;",
    "esac",
    'exec nsenter --target "$leader" --all env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 sh -c "${*: -1}"',
  ];
  await writeFile(ssh, `${script.join("\n")}\n`);
  await chmod(ssh, 0o755);
  const file = join(folder, "inventory.ini");
  const lines = [
    "[fairlead_server]",
    "vm-1",
    "[fairlead_hosts]",
    ...trees.map(({ host }, i) => `vm-${i + 1} ansible_host=${host.ip}`),
    "[all:vars]",
    `ansible_ssh_executable=${ssh}`,
    "ansible_ssh_transfer_method=piped",
    "ansible_become_method=su",
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  return file;
}

async function play(
  folder: string,
  inventory: string,
  deb: string,
): Promise<{ readonly exitCode: number | undefined; readonly all: string }> {
  const { exitCode, all } = await execa("ansible-playbook", ["-i", inventory, playbook, "-e", `fairlead_deb=${deb}`], {
    env: { ANSIBLE_HOME: folder, ANSIBLE_LOCAL_TEMP: join(folder, "tmp"), ANSIBLE_NOCOLOR: "1", ANSIBLE_PIPELINING: "0" },
    reject: false,
    all: true,
    timeout: 300_000,
    stdin: "ignore",
  });
  return { exitCode, all };
}
