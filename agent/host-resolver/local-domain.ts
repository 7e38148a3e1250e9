import type { StubDomain } from "#agent/dns/stub-domains.ts";
import { parseResolvConf } from "#agent/dns/upstreams.ts";
import type { ResolverKind } from "./facts.ts";
import type { LinkSettings } from "./link.ts";
import { searchDomains } from "./resolv-conf.ts";

export interface LocalDomainFacts {
  readonly kind: ResolverKind;
  /** Of /etc/resolv.conf, as it is before. */
  readonly text: string;
  readonly settings: LinkSettings;
  readonly stubs: readonly StubDomain[];
}

/**
 * What the operator should say of a search domain below .local, as Active Directory often has it: where all names are asked of us, we ask nobody for those
 * (docs/adr/0311). Pure.
 */
export function localDomainHint({ kind, text, settings, stubs }: LocalDomainFacts): string | undefined {
  if (kind !== "file" && kind !== "resolvconf") return undefined; // the others ask us for our own names only
  const known = [settings.domain, ...settings.moreZones, ...stubs.map(({ suffix }) => suffix)];
  const lost = searchDomains(text).find((domain) => isBelow(domain, "local") && !known.some((suffix) => isBelow(domain, suffix)));
  if (lost === undefined) return undefined;
  const server = parseResolvConf(text).find((address) => !/^127\.|^::1$/.test(address)) ?? "ADDRESS";
  return `names below ${lost} will be asked of nobody, because *.local is left to multicast DNS; if your network serves them, start the agent with --dns-stub local=${server}`;
}

function isBelow(domain: string, suffix: string): boolean {
  return domain === suffix || domain.endsWith(`.${suffix}`);
}
