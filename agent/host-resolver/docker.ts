/** What Docker is told so that its containers ask us. Pure texts. */

export interface ContainerDns {
  /** The DNS service's virtual IP: every host has it, so one text serves all hosts that have the same search list. */
  readonly server: string;
  readonly domain: string;
  /** Whose names need no namespace. */
  readonly namespace: string;
  /** The search list of the host, which a container would have without ours. */
  readonly hostSearch: readonly string[];
}

/**
 * Two dots are enough to be tried as it stands: `web.default` goes through the search list, `www.example.com` does not. Kubernetes' 5 would send each
 * outside name through all three suffixes first.
 */
export const NDOTS = 2;

export function searchList({ domain, namespace, hostSearch }: Omit<ContainerDns, "server">): readonly string[] {
  return [...new Set([`${namespace}.svc.${domain}`, `svc.${domain}`, domain, ...hostSearch])];
}

export function containerSettings(dns: ContainerDns): {
  readonly dns: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
} {
  return { dns: [dns.server], search: searchList(dns), options: [`ndots:${NDOTS}`] };
}

/** The members that /etc/docker/daemon.json needs. */
export function renderDaemonJson(dns: ContainerDns): string {
  const { dns: servers, search, options } = containerSettings(dns);
  return JSON.stringify({ dns: servers, "dns-search": search, "dns-opts": options }, undefined, 2);
}

/** The same as two lines to be put into a file that has others. */
export function renderDaemonLines(dns: ContainerDns): string {
  const { dns: servers, search, options } = containerSettings(dns);
  return `  "dns": ${JSON.stringify(servers)}, "dns-opts": ${JSON.stringify(options)},\n  "dns-search": ${JSON.stringify(search)}`;
}

/** The lines of a service in Compose. */
export function renderCompose(dns: ContainerDns): string {
  const { dns: servers, search, options } = containerSettings(dns);
  const list = (name: string, items: readonly string[]): string => `${name}: [${items.join(", ")}]`;
  return [
    list("dns", servers),
    list("dns_search", search),
    list(
      "dns_opt",
      options.map((option) => `"${option}"`),
    ),
  ].join("\n");
}

/** For `docker run`. */
export function renderRunFlags(dns: ContainerDns): string {
  const { dns: servers, search, options } = containerSettings(dns);
  return [
    ...servers.map((server) => `--dns ${server}`),
    ...search.map((suffix) => `--dns-search ${suffix}`),
    ...options.map((option) => `--dns-option ${option}`),
  ].join(" ");
}

export function renderDocker(dns: ContainerDns): string {
  return `/etc/docker/daemon.json, for all containers that start from now on (then \`sudo systemctl restart docker\`):

${renderDaemonJson(dns)}

Compose, in a service:

${renderCompose(dns)
  .split("\n")
  .map((line) => `    ${line}`)
  .join("\n")}

docker run ${renderRunFlags(dns)} …

No other name server beside it: some clients ask all at once and believe the first answer. Names outside of the fleet are asked on by the agent.
A container keeps the settings that it started with.
`;
}
