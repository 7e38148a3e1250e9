import { renderBootUnit, BOOT_UNIT } from "./boot-hook.ts";
import type { Detection, ResolverFacts } from "./facts.ts";
import { RESOLV_CONF_FILE } from "./file.ts";
import { DNS_LINK, resolvectlCalls, type LinkSettings } from "./link.ts";
import { DNSMASQ_FILE, renderDnsmasq, renderResolvconfEntry, resolvconfCall } from "./others.ts";
import { renderResolvConf } from "./resolv-conf.ts";
import { RECORD_FOLDER } from "./record.ts";
import { RESOLV_CONF_BACKUP } from "#agent/dns/upstreams.ts";

/** What installing means on this host, in words: exactly what would be done. Pure. */
export interface InstallPlan {
  /** Files that somebody else may have an eye on are changed only where the operator says so. */
  readonly needsWrite: boolean;
  readonly steps: readonly string[];
}

export function planInstall({ kind }: Detection, facts: ResolverFacts, settings: LinkSettings): InstallPlan | undefined {
  switch (kind) {
    case undefined:
      return undefined;
    case "resolved":
      return { needsWrite: false, steps: linkSteps(settings) };
    case "dnsmasq":
      return { needsWrite: true, steps: [`write ${DNSMASQ_FILE}:`, ...indented(renderDnsmasq(settings)), "nmcli general reload dns-full"] };
    case "resolvconf": {
      const call = resolvconfCall(facts.resolvconf ?? "debian", "add").join(" ");
      return {
        needsWrite: true,
        steps: [`resolvconf ${call}, as long as the agent runs, with:`, ...indented(renderResolvconfEntry(facts.resolvConf.text))],
      };
    }
    case "file":
      return { needsWrite: true, steps: fileSteps(facts, settings) };
  }
}

function linkSteps(settings: LinkSettings): string[] {
  return [
    `ip link add ${DNS_LINK} type dummy   (where the kernel has none: bridge, ifb)`,
    `ip address add ${settings.server} dev ${DNS_LINK}; ip link set ${DNS_LINK} up`,
    ...resolvectlCalls(settings).map(([call]) => `resolvectl ${call.join(" ")}`),
    "the agent does it again whenever link or settings are gone; no file is edited, and a boot without the agent finds nothing of it",
  ];
}

function fileSteps({ resolvConf, hasSystemd }: ResolverFacts, { server }: LinkSettings): string[] {
  const files = {
    oursFile: `${RECORD_FOLDER}/resolv.conf.ours`,
    backup: RESOLV_CONF_BACKUP,
    copy: `${RECORD_FOLDER}/resolv.conf.original`,
  };
  return [
    `save ${RESOLV_CONF_FILE} as ${RESOLV_CONF_BACKUP} and ${files.copy}, with its checksum`,
    `write ${resolvConf.link === undefined ? RESOLV_CONF_FILE : `${resolvConf.target ?? ""}, which ${RESOLV_CONF_FILE} leads to`}, as long as the agent runs:`,
    ...indented(renderResolvConf(resolvConf.text, server)),
    ...(hasSystemd
      ? [`write and enable the unit ${BOOT_UNIT}, so that each boot begins with the host's own file:`, ...indented(renderBootUnit(files))]
      : ["nothing at boot: systemd does not run here, so only an agent that ends in order puts the host's own file back"]),
  ];
}

function indented(text: string): string[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => `    ${line}`.trimEnd());
}
