import type { Architecture } from "./architectures.ts";

export interface ControlFacts {
  readonly version: string;
  readonly architecture: Architecture;
  readonly installedKib: number;
}

/** The control file of the Debian package. Pure. Node and its libraries come within: only what runs beside them is asked for. */
export function renderControl({ version, architecture, installedKib }: ControlFacts): string {
  return `Package: fairlead
Version: ${version}
Architecture: ${architecture}
Maintainer: The Fairlead authors <fairlead@example.com>
Installed-Size: ${installedKib}
Depends: libc6 (>= 2.34), libstdc++6, perl-base, passwd, init-system-helpers, iproute2, iptables
Recommends: conntrack
Suggests: nftables, ipvsadm, ipset, bash-completion, man-db
Section: net
Priority: optional
Description: Kubernetes-style services for plain Linux hosts, without Kubernetes
 One virtual IP and one DNS name per service, balanced in every host's own kernel
 by iptables, nftables or IPVS. This package holds the server, the agent and the
 command line; installing it starts nothing: see fairlead(1).
`;
}
