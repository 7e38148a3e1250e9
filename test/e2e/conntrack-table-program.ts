// Conntrack's table made larger and put back, in a kernel of its own (test/fleet/uml.ts): its size is the whole machine's.
// Prints what was seen as one JSON line.
import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { DEFAULT_CONNTRACK, tuneConntrack } from "#agent/dataplane/conntrack-settings.ts";
import { openSysctls } from "#agent/dataplane/sysctl.ts";

await execa("modprobe", ["nf_conntrack"]);
const of = async (name: string): Promise<number> => Number(await readFile(`/proc/sys/net/netfilter/nf_conntrack_${name}`, "utf8"));
const values = async (): Promise<Record<string, number>> => ({
  buckets: await of("buckets"),
  max: await of("max"),
  established: await of("tcp_timeout_established"),
  closeWait: await of("tcp_timeout_close_wait"),
});
const warnings: string[] = [];
const log = { info: () => undefined, warn: (_fields: object, message: string) => void warnings.push(message) };
const stateDir = await mkdtemp(join(tmpdir(), "conntrack-"));
const sysctls = openSysctls({ stateDir });
await execa("sysctl", ["-q", "-w", "net.netfilter.nf_conntrack_buckets=8192", "net.netfilter.nf_conntrack_max=20000"]);
const before = await values();
const changed = await tuneConntrack({ sysctls, log, cores: 8 }, DEFAULT_CONNTRACK);
const raised = await values();
const again = await tuneConntrack({ sysctls, log, cores: 1 }, { ...DEFAULT_CONNTRACK, establishedSeconds: 60, closeWaitSeconds: 60 });
const restored = await sysctls.restore({ dryRun: false });
const after = await values();
process.stdout.write(`${JSON.stringify({ before, changed, raised, again, restored, after, warnings })}\n`);
