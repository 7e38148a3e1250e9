import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { waitFor } from "../wait-for.ts";
import { runInUml } from "./uml.ts";

/** Finds the guest among the machine's processes: others may run some too. */
const guestsWith = async (memory: string): Promise<string[]> => {
  const pids = (await readdir("/proc")).filter((entry) => /^\d+$/.test(entry));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return lines.filter((line) => line.includes(`linux.uml\0mem=${memory}`));
};

const script = `
  ipvsadm -Sn && modprobe ip_vs_rr || exit 9
  head -c 3000000 /dev/zero | tr '\\0' 'x'; printf 'two\\r\\nwords: %s\\n' "$1" >&2
  echo kept >"$FOLDER/kept"; echo lost >/etc/fairlead-uml-lost
  sleep 1000 & exit 7
`;

test.concurrent(
  "a command runs in a kernel with IPVS, and only what it writes into the writable folders stays",
  async ({ onTestFinished }) => {
    const folder = await mkdtemp(join(tmpdir(), "uml-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const env = { FOLDER: folder };
    const ran = await runInUml({
      command: "bash",
      args: ["-c", script, "bash", "it's $x"],
      timeoutMs: 60_000,
      writable: [folder],
      env,
      memory: "302M",
    });
    expect({ ...ran, stdout: ran.stdout.length }).toEqual({ exitCode: 7, stdout: 3_000_000, stderr: "two\r\nwords: it's $x\n" });
    expect(await readFile(join(folder, "kept"), "utf8")).toBe("kept\n");
    await expect(access("/etc/fairlead-uml-lost")).rejects.toThrow("ENOENT");
    expect(await guestsWith("302M")).toEqual([]);
  },
);

test.concurrent("a command that runs too long is ended with its kernel, and what it had printed is told", async () => {
  const ran = runInUml({ command: "bash", args: ["-c", "echo so far; sleep 1000"], timeoutMs: 15_000, memory: "303M" });
  await expect(ran).rejects.toThrow(/did not end within 15000 ms[^]*so far/);
  expect(await guestsWith("303M")).toEqual([]);
});

test("a guest does not outlive a parent that is killed", async () => {
  const program = `import { runInUml } from "./test/fleet/uml.ts"; await runInUml({ command: "sleep", args: ["1000"], timeoutMs: 100_000, memory: "304M" });`;
  const parent = spawn(process.execPath, ["--input-type=module-typescript", "--eval", program], { stdio: "ignore" });
  onTestFinished(() => void parent.kill("SIGKILL"));
  const isThere = async (): Promise<boolean> => (await guestsWith("304M")).length > 0;
  await waitFor(isThere, { what: "the guest to be there", timeoutMs: 20_000 });
  parent.kill("SIGKILL");
  await once(parent, "exit");
  await waitFor(async () => !(await isThere()), { what: "the guest to be gone", timeoutMs: 5_000 });
});
