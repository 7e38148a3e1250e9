import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { execa } from "execa";
import type { Bench } from "./bench.ts";
import { requireTools } from "./requirements.ts";

const ROUNDS = 3;
const root = join(import.meta.dirname, "../..");

/** Our responder next to dnsmasq and unbound, each asked by dnsperf for the same names. */
export const dns: Bench = {
  name: "dns",
  about: "10,000 services, 90 % hits and 10 % NXDOMAIN: processor time a query, next to dnsmasq and unbound, cached and forwarded",
  async run(say, { rounds = ROUNDS }) {
    requireTools(["unshare", "taskset", "ip"]);
    requireNameServers();
    // With a pid namespace, all ends with the program, also when this process is killed.
    const namespaces = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const args = [...namespaces, process.execPath, join(import.meta.dirname, "dns-program.ts"), String(rounds)];
    const running = execa("unshare", args, { cwd: root, timeout: 600_000, stderr: ["pipe"], maxBuffer: 100_000_000 });
    running.stderr.on("data", (text: Buffer) => say(text.toString().trim()));
    const { stdout } = await running;
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Record<string, number>; // from our own program
  },
};

/** No test needs them, so tools/setup.sh does not install them. */
function requireNameServers(): void {
  const missing = ["dnsmasq", "unbound", "dnsperf"].filter((name) => spawnSync("sh", ["-c", 'command -v "$1"', "sh", name]).status !== 0);
  if (missing.length > 0) throw new Error(`not installed: ${missing.join(", ")}: apt-get install dnsmasq-base unbound dnsperf`);
}
