import type { DataplaneDriver } from "#agent/dataplane/driver.ts";
import type { HostTools } from "#agent/dataplane/exec.ts";
import { openDriver as selected } from "#agent/dataplane/select.ts";
import { openSysctls } from "#agent/dataplane/sysctl.ts";
import type { Told } from "./recording.ts";

/** The data planes as the benches name them, and their real drivers. */
export const MODES = ["nftables", "iptables_nft", "iptables_legacy", "ipvs"] as const;
export type Mode = (typeof MODES)[number];

const quiet = { info: () => undefined, warn: complain, error: complain };

export async function openDriver(mode: Mode, tools: HostTools, stateDir: string): Promise<DataplaneDriver> {
  return selected({ dataplane: mode.replace("_", "-"), family: "IPv4", tools, sysctls: openSysctls({ stateDir }), log: quiet });
}

export function modesOf(asked: readonly string[] | undefined): readonly Mode[] {
  if (!asked) return MODES;
  return asked.map((name) => {
    const mode = MODES.find((one) => one === name);
    if (!mode) throw new Error(`there is no mode ${name}: ${MODES.join(", ")}`);
    return mode;
  });
}

/**
 * A command that makes the hooks of nat with no rule in them, and has connection tracking on, as any host with Docker has it: by a rule that needs it
 * and stands where no packet comes by.
 */
export function emptyHookOf(mode: Mode): [string, readonly string[], { readonly input: string }] {
  if (mode === "nftables") {
    const hooks = ["prerouting", "output", "postrouting"].map((hook) => `chain ${hook} { type nat hook ${hook} priority 0; }`);
    return ["nft", ["-f", "-"], { input: `table ip bench {\n${hooks.join("\n")}\nchain nobody { ct state new; }\n}\n` }];
  }
  const chains = ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"].map((chain) => `:${chain} ACCEPT [0:0]\n`);
  const input = `*nat\n${chains.join("")}:NOBODY - [0:0]\n-A NOBODY -m conntrack --ctstate NEW\nCOMMIT\n`;
  return [`iptables-${mode === "iptables_nft" ? "nft" : "legacy"}-restore`, [], { input }];
}

/** Commands that make one place lead to another and nothing else: the least that a translation costs here. */
export function bareTranslation(mode: Mode, [from, to]: readonly [string, string]): readonly Told[] {
  const [address = "", port = ""] = from.split(":");
  switch (mode) {
    case "nftables": {
      const rule = `ip daddr ${address} tcp dport ${port} dnat to ${to}`;
      const input = `table ip bench { chain translate { type nat hook output priority -100; ${rule}; }; }\n`;
      return [{ file: "nft", args: ["-f", "-"], input }];
    }
    case "iptables_nft":
    case "iptables_legacy": {
      const rule = `-A OUTPUT -d ${address}/32 -p tcp -m tcp --dport ${port} -j DNAT --to-destination ${to}`;
      return [{ file: `${mode.replace("_", "-")}-restore`, args: ["--noflush"], input: `*nat\n${rule}\nCOMMIT\n` }];
    }
    case "ipvs":
      return [
        { file: "ip", args: ["route", "add", "local", `${address}/32`, "dev", "lo", "src", to.split(":")[0] ?? ""], input: "" },
        { file: "ipvsadm", args: ["-R"], input: `-A -t ${from} -s rr\n-a -t ${from} -r ${to} -m\n` },
      ];
  }
}

/** The programs without which a bench of these modes cannot begin. */
export function toolsOf(modes: readonly Mode[]): readonly string[] {
  const needed: Record<Mode, readonly string[]> = {
    nftables: ["nft"],
    iptables_nft: ["iptables-nft-restore"],
    iptables_legacy: ["iptables-legacy-restore"],
    ipvs: ["linux.uml", "ipvsadm", "ipset"],
  };
  return modes.flatMap((mode) => needed[mode]);
}

function complain(fields: object, message: string): void {
  console.error(message, JSON.stringify(fields));
}
