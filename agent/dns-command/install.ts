import { setTimeout as sleep } from "node:timers/promises";
import { AppError } from "#proto/error.ts";
import { DEFAULT_NAMESPACE } from "#proto/namespace.ts";
import { installResolver, uninstallResolver, WORDS } from "#agent/host-resolver/install.ts";
import { localDomainHint } from "#agent/host-resolver/local-domain.ts";
import { planInstall } from "#agent/host-resolver/plan.ts";
import { containerSettings, renderDaemonLines, renderDocker } from "#agent/host-resolver/docker.ts";
import { searchDomains } from "#agent/host-resolver/resolv-conf.ts";
import { addressAsked, openRecords } from "#agent/host-resolver/record.ts";
import { openKernelTools } from "#agent/dataplane/exec.ts";
import { askAsPrograms, askServer, type HostAsked } from "./ask.ts";
import { lookAtThisHost, type ThisHost } from "./host.ts";

export interface InstallFlags {
  readonly kubeconfig: string;
  readonly write: boolean;
  readonly dryRun: boolean;
}

const START_MS = 15_000;
const ASK_AGAIN_MS = 300;

type Print = (text: string) => void;

/** Exit code 0: the host asks us, or would; 1: it does not. */
export async function install({ kubeconfig, write, dryRun }: InstallFlags, print: Print): Promise<number> {
  const host = await lookAtThisHost(kubeconfig);
  const { detection, facts, settings, stubs, isAgentRunning, tools, records } = host;
  print(`${detection.summary}\n`);
  const plan = planInstall(detection, facts, settings);
  if (detection.kind === undefined || plan === undefined)
    throw new AppError("Conflict", "this host's resolver cannot be told to ask the agent", { hint: detection.advice });
  if (detection.advice !== undefined) print(`note: ${detection.advice}\n`);
  const hint = localDomainHint({ kind: detection.kind, text: facts.resolvConf.text, settings, stubs });
  if (hint !== undefined) print(`note: ${hint}\n`);
  if (dryRun || (plan.needsWrite && !write)) {
    print(`this would be done:\n${plan.steps.map((step) => `  ${step}\n`).join("")}`);
    print(plan.needsWrite ? `nothing was changed; \`sudo fairlead dns install --write\` does it\n` : "nothing was changed\n");
    printDocker(host, print);
    return 0;
  }
  const address = addressAsked({ kind: detection.kind, server: settings.server });
  const { ok: isAnswering } = await askServer({ address, port: 53 }, `ns.dns.${settings.domain}`, "A");
  await installResolver({ tools, records }, { kind: detection.kind, facts, settings, isAnswering });
  print(`*.${settings.domain} is asked of the agent, by ${WORDS[detection.kind]}\n`);
  printDocker(host, print);
  if (!isAgentRunning) {
    print("the agent does not run: this takes effect when it does\n");
    return 0;
  }
  return proveResolved(host, print);
}

/** Asks as the programs of this host do. */
async function proveResolved({ tools, settings }: ThisHost, print: Print): Promise<number> {
  const ask = (): Promise<HostAsked> => askAsPrograms(tools, `ns.dns.${settings.domain}`);
  let asked = await ask();
  // An agent that has just started answers in a moment, and tells the host then.
  for (const end = performance.now() + START_MS; !asked.answers.includes(settings.server) && performance.now() < end; asked = await ask())
    await sleep(ASK_AGAIN_MS);
  const { by, answers, why } = asked;
  const isRight = answers.includes(settings.server);
  print(
    isRight
      ? `checked: ${by} says ${answers.join(", ")}\n`
      : `not yet: ${by} says ${why ?? answers.join(", ")}; \`sudo fairlead dns status\` says more\n`,
  );
  return isRight ? 0 : 1;
}

function printDocker({ facts, settings }: ThisHost, print: Print): void {
  if (!facts.hasDocker) return;
  const dns = {
    server: settings.server,
    domain: settings.domain,
    namespace: DEFAULT_NAMESPACE,
    hostSearch: searchDomains(facts.resolvConf.text),
  };
  print(`Docker is here. For containers to ask the agent, in /etc/docker/daemon.json:\n${renderDaemonLines(dns)}\n`);
  print("`sudo fairlead dns containers` says it for another namespace, Compose and docker run\n");
}

/** Also where the host has left its fleet. */
export async function uninstall({ dryRun }: { readonly dryRun: boolean }, print: Print): Promise<number> {
  const deps = { tools: openKernelTools(), records: openRecords() };
  const found = await uninstallResolver(deps, { dryRun });
  for (const what of found) print(`${dryRun ? "would remove" : "removed"} ${what}\n`);
  if (dryRun) {
    if (found.length === 0) print("nothing of ours is in this host's resolver\n");
    return 0;
  }
  const left = await uninstallResolver(deps, { dryRun: true });
  if (left.length > 0) throw new AppError("KernelRejected", `something is left: ${left.join(", ")}`, { hint: "run it again" });
  print("nothing of ours is in this host's resolver\n");
  return 0;
}

export async function containers(
  { kubeconfig, namespace, output }: { readonly kubeconfig: string; readonly namespace: string; readonly output: "text" | "json" },
  print: Print,
): Promise<number> {
  const { settings, facts } = await lookAtThisHost(kubeconfig);
  const dns = { server: settings.server, domain: settings.domain, namespace, hostSearch: searchDomains(facts.resolvConf.text) };
  print(output === "json" ? `${JSON.stringify(containerSettings(dns), undefined, 2)}\n` : renderDocker(dns));
  return 0;
}
