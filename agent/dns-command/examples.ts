/** What `--help` shows after the options. */

export const DNS_EXAMPLES = `
Examples:
  sudo fairlead dns install --dry-run              # what would be done on this host
  sudo fairlead dns install                        # where systemd-resolved runs: no file is edited
  sudo fairlead dns install --write                # elsewhere: after reading what it prints without
  sudo fairlead dns status                         # who answers what
  sudo fairlead dns lookup web.default.svc.cluster.local
  sudo fairlead dns containers                     # lines for daemon.json and Compose
  sudo fairlead dns uninstall                      # as it was before, byte for byte

With sudo throughout: what this host agreed with its fleet lies beside its credential, which only root may read. Exit code 5: you may not.
`;

export const INSTALL_EXAMPLES = `
Examples:
  sudo fairlead dns install --dry-run
  sudo fairlead dns install
  sudo fairlead dns install --write

systemd-resolved gets a link of its own (fairlead-dns) with the fleet's names as routing domain, at once: no file is edited. For NetworkManager's dnsmasq, for
resolvconf and for a plain /etc/resolv.conf it only prints what it would change, unless --write is given. The agent keeps it so while it runs; when it
ends, and at each boot until it answers, a plain /etc/resolv.conf is the host's own again.
`;

export const STATUS_EXAMPLES = `
Examples:
  sudo fairlead dns status
  sudo fairlead dns status -o json

Exit code 0: the programs of this host find the fleet's names; 1: they do not, and the output says why.
`;

export const UNINSTALL_EXAMPLES = `
Examples:
  fairlead dns uninstall --dry-run
  sudo fairlead dns uninstall
`;

export const CONTAINERS_EXAMPLES = `
Examples:
  sudo fairlead dns containers
  sudo fairlead dns containers --namespace shop    # "cart" finds cart.shop.svc…, "web.default" still the other
  sudo fairlead dns containers -o json
`;

export const LOOKUP_EXAMPLES = `
Examples:
  sudo fairlead dns lookup web.default.svc.cluster.local
  sudo fairlead dns lookup _http._tcp.web.default.svc.cluster.local --type SRV --trace
  sudo fairlead dns lookup 10.96.0.50                # whose address is it?
  sudo fairlead dns lookup www.example.com           # who is asked?
  sudo fairlead dns lookup web.default.svc.cluster.local --node vm-2 -o json

Exit code 0: there are records; 3: there is no such name or record; 7: nobody answered.
`;
