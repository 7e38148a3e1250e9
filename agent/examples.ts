/** What `--help` shows after the options. */

export const AGENT_EXAMPLES = `
Examples:
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt
  ssh server fairlead token create | sudo fairlead agent join https://10.0.0.5:7443 --token-file -
  sudo fairlead agent                          # runs until stopped; traffic and DNS state stay when it ends
  sudo fairlead agent --dataplane nftables     # another data plane; a restart switches without a refused connection
  sudo fairlead dns install                    # the host's own programs find the fleet's names, too
  curl http://127.0.0.1:10256/readyz?verbose   # does this host's kernel follow?
  fairlead agent run --help                    # all options
  sudo fairlead agent cleanup --dry-run        # what is ours on this host
  sudo fairlead agent cleanup                  # takes it all away
`;

export const RUN_EXAMPLES = `
Examples:
  sudo fairlead agent --dataplane auto --healthz-listen 0.0.0.0:10256
  sudo fairlead agent --node-port-address 192.168.7.0/24 --node-port-address 127.0.0.0/8   # not at the other networks of this host
`;

export const JOIN_EXAMPLES = `
Examples:
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt
  ssh server fairlead token create | sudo fairlead agent join https://10.0.0.5:7443 --token-file -
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt --name vm-1 --address 192.168.7.21
  sudo fairlead agent join https://10.0.0.5:7443 --token-file token.txt --run   # and run the agent; again: only that
`;

export const CLEANUP_EXAMPLES = `
Examples:
  sudo fairlead agent cleanup --dry-run   # only says what would go; stop the agent before the rest
  sudo fairlead agent cleanup             # the host can run the agent again
  sudo fairlead agent cleanup --purge     # leaves the fleet: the credential goes, too

Exit code 1: something is left, or /etc/resolv.conf still names the agent; the message says what to do.
`;
