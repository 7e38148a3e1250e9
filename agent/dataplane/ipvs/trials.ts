import { describeError } from "#proto/error.ts";
import type { IpFamily } from "#proto/ip.ts";
import type { ProbeResult } from "../driver.ts";
import type { KernelTools } from "../exec.ts";
import type { IptablesFound } from "../iptables/detect.ts";
import { MARKS, SET_NAMES, SETS, setWord, type SetName } from "./names.ts";

/** Has the kernel what we need? Asked by doing it: the kernel then loads the modules that it has. */

/** With a virtual server that nobody is ever sent to. Why not, in the tool's words; undefined = there is one. */
export async function tryScheduler(
  tools: KernelTools,
  { family, scheduler }: { readonly family: IpFamily; readonly scheduler: string },
  signal: AbortSignal,
): Promise<string | undefined> {
  const name = `-f ${MARKS.trial}${family === "IPv6" ? " -6" : ""}`;
  const input = `-A ${name} -s rr\n-E ${name} -s ${scheduler}\n-D ${name}\n`;
  const { exitCode, stderr, stdout } = await tools.run("ipvsadm", ["-R"], { signal, input, accept: [1, 2, 255] });
  // A trial that was cut short has left its server, which this one takes away.
  const said = stderr.split("\n").filter((line) => line.trim() !== "" && !/already exists/i.test(line));
  if (exitCode === 0 && said.length === 0) return undefined;
  return (said.join("; ") || stdout.trim() || `ipvsadm ended with ${exitCode}`).slice(0, 300);
}

/** The first thing that is missing, and what to do about it. In namespaces of their own, so that nothing of this host is touched. */
export async function probeIpvs(
  tools: KernelTools,
  { family, iptables }: { readonly family: IpFamily; readonly iptables: IptablesFound },
  signal: AbortSignal,
): Promise<ProbeResult> {
  for (const tool of ["ipvsadm", "ipset"] as const)
    if (!(await isInstalled(tools, tool, signal)))
      return { usable: false, why: `${tool} is not installed`, hint: `apt-get install ${tool}` };
  const why = await tryScheduler(tools, { family, scheduler: "wrr" }, signal);
  if (why !== undefined)
    return {
      usable: false,
      why: `the kernel has no virtual servers (modules ip_vs, ip_vs_rr, ip_vs_wrr): ${why}`,
      hint: "use a kernel with CONFIG_IP_VS, or another data plane; as root, modprobe ip_vs says what is wrong",
    };
  const missing = (await trySets(tools, family, signal)) ?? (await tryRules(tools, { family, iptables }, signal));
  if (missing !== undefined)
    return { usable: false, why: missing, hint: "see agent/dataplane/ipvs/README.md for the modules that it needs" };
  return { usable: true, detail: `IPVS, with the rules of iptables-${iptables.kind}: ${iptables.why}` };
}

async function isInstalled(tools: KernelTools, tool: "ipvsadm" | "ipset", signal: AbortSignal): Promise<boolean> {
  // Both ask the kernel even for their version, and say no when it has no such part.
  return tools.run(tool, ["--help"], { signal, accept: [1, 2, 255] }).then(
    () => true,
    (cause: unknown) => {
      if (signal.aborted) throw cause;
      return false;
    },
  );
}

async function trySets(tools: KernelTools, family: IpFamily, signal: AbortSignal): Promise<string | undefined> {
  return attempt(tools, ["unshare", "--net", "ipset", "-exist", "restore"], setLines(family).join(""), signal).then((why) =>
    why === undefined ? undefined : `the kernel cannot make our sets: ${why}`,
  );
}

async function tryRules(
  tools: KernelTools,
  { family, iptables }: { readonly family: IpFamily; readonly iptables: IptablesFound },
  signal: AbortSignal,
): Promise<string | undefined> {
  const restore = `${family === "IPv4" ? "iptables" : "ip6tables"}-${iptables.kind}-restore`;
  const mask = family === "IPv4" ? "255.255.255.255" : "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  const parts: Readonly<Record<string, string>> = {
    xt_ipvs: "*mangle\n:FLV-PROBE - [0:0]\n-A FLV-PROBE -m ipvs --ipvs -j RETURN\nCOMMIT\n",
    xt_mark: "*mangle\n:FLV-PROBE - [0:0]\n-A FLV-PROBE -m mark --mark 0x1 -j MARK --set-xmark 0x0/0xffffffff\nCOMMIT\n",
    xt_recent: `*filter\n:FLV-PROBE - [0:0]\n-A FLV-PROBE -m recent ! --rcheck --name FLV-PROBE --mask ${mask} --rsource -j RETURN\nCOMMIT\n`,
    xt_conntrack: "*filter\n:FLV-PROBE - [0:0]\n-A FLV-PROBE -m conntrack --ctstate ESTABLISHED --ctdir REPLY -j RETURN\nCOMMIT\n",
    xt_addrtype: "*filter\n:FLV-PROBE - [0:0]\n-A FLV-PROBE -m addrtype --src-type LOCAL -j RETURN\nCOMMIT\n",
    REJECT: "*filter\n:FLV-PROBE - [0:0]\n-A FLV-PROBE -p tcp -j REJECT --reject-with tcp-reset\nCOMMIT\n",
    MASQUERADE: "*nat\n:FLV-PROBE - [0:0]\n-A FLV-PROBE -j MASQUERADE\nCOMMIT\n",
  };
  const write = async (text: string) => attempt(tools, ["unshare", "--net", restore, "--noflush", "-w", "5"], text, signal);
  if ((await write(Object.values(parts).join(""))) === undefined) return undefined;
  for (const [what, text] of Object.entries(parts)) {
    const why = await write(text);
    if (why !== undefined) return `the kernel or iptables has no ${what}: ${why}`;
  }
  return undefined;
}

/** Makes all sets of a family but those that are there. */
export function setLines(family: IpFamily, areThere: ReadonlySet<SetName> = new Set()): readonly string[] {
  const inet = family === "IPv4" ? "inet" : "inet6";
  return SET_NAMES.filter((set) => !areThere.has(set)).map((set) => {
    const { type } = SETS[set];
    return `create ${setWord(family, set)} ${type} family ${inet} maxelem 1048576${"marks" in SETS[set] ? " skbinfo" : ""}\n`;
  });
}

async function attempt(
  tools: KernelTools,
  [file = "", ...args]: readonly string[],
  input: string,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    await tools.run(file, args, { signal, input });
    return undefined;
  } catch (cause) {
    if (signal.aborted) throw cause;
    return describeError(cause);
  }
}
