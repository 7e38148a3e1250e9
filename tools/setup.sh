#!/bin/sh
# Installs what this checkout needs and does not have; says what and why; does nothing, quickly, when all is there.
#   setup.sh dependencies   the npm packages of package-lock.json, Node 24 among them   (exit 69: npm is missing)
#   setup.sh packages       the Debian packages that the kernel test suites run         (exit 69: cannot be installed)
#   setup.sh neighbours     Docker, ufw and firewalld, beside which the coexistence suites run us; installed only where that
#                           disturbs nobody; prints those that are not there, one per line   (exit 69: cannot be installed)
set -eu

root=$(CDPATH='' cd -P "$(dirname "$0")/.." && pwd -P)
cd "$root"
say() { printf 'fairlead set-up: %s\n' "$*" >&2; }

installed() { # a fresh install leaves a copy of the lockfile behind (package.json, "postinstall")
  [ -e node_modules/.fairlead-lock ] && cmp -s package-lock.json node_modules/.fairlead-lock
}

install_dependencies() {
  if [ -e node_modules ]; then why="package-lock.json has changed since the last install"; else why="first start in $root"; fi
  if ! command -v npm >/dev/null; then
    say "npm is missing, and with it the dependencies cannot be installed ($why)."
    say "Install it (Debian, Ubuntu: apt-get install npm; it may bring any Node, the right one is then fetched) and start again."
    exit 69
  fi
  say "npm ci: installing the dependencies, with Node 24 among them ($why)"
  if ! npm ci --no-audit --no-fund --loglevel=error >&2 </dev/null 9>&-; then
    say "npm ci failed, see above; nothing was started. Is the npm registry reachable from here, and $root writable and not full?"
    exit 69
  fi
  cp package-lock.json node_modules/.fairlead-lock # where npm is configured to run no scripts
}

dependencies() {
  if ! installed; then
    if ! : 2>/dev/null >>.setup.lock; then
      say "the dependencies are missing or out of date, and $root is not writable for $(id -un): run ./fairlead --version there once as its owner"
      exit 69
    fi
    exec 9>>.setup.lock # two at once: the second waits, and then finds all done
    if ! flock -n 9; then
      say "another set-up is running in $root, waiting for it"
      flock -w 900 9 || { say "it still runs after 15 minutes: giving up (fuser -v $root/.setup.lock says who it is)"; exit 69; }
    fi
    installed || install_dependencies
    exec 9>&-
  fi
  touch -c node_modules/.fairlead-lock 2>/dev/null || : # newer than a lockfile that was only checked out again
}

# One line each: the Debian package and a program, or file, that shows it is there.
kernel_tools='
iptables        iptables-restore
nftables        nft
ipset           ipset
ipvsadm         ipvsadm
user-mode-linux linux.uml
conntrack       conntrack
iproute2        ip
iputils-ping    ping
curl            curl
bind9-dnsutils  dig
musl-tools      musl-gcc
hey             hey
kmod            modprobe
procps          sysctl
util-linux      nsenter
openssl         openssl
mmdebstrap      mmdebstrap
ansible-core    ansible-playbook
qemu-user       qemu-aarch64
libstdc++6-arm64-cross /usr/aarch64-linux-gnu/lib/libstdc++.so.6
'

# Name servers that suites start themselves, on ports of their own: installed without being started.
server_tools='
dnsmasq-base    dnsmasq
unbound         unbound
'

# Firewalls and daemons of other people: see neighbours.
neighbour_tools='
docker.io       dockerd
docker-compose  docker-compose
ufw             ufw
firewalld       firewalld
dbus            dbus-daemon
'

missing_packages() { # of the list in $1
  printf '%s' "$1" | while read -r package program; do
    case $program in
      '') continue ;;
      /*) [ -e "$program" ] ;;
      *) command -v "$program" >/dev/null ;;
    esac || printf '%s ' "$package"
  done | sed 's/ $//'
}

packages() {
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
  missing=$(missing_packages "$server_tools")
  [ -z "$missing" ] || install_stopped "The DNS suites (e2e) ask them" "$missing"
  missing=$(missing_packages "$kernel_tools")
  [ -z "$missing" ] || install_packages "The kernel suites (e2e) run them" "$missing"
  missing=$(missing_packages "$server_tools$kernel_tools")
  [ -z "$missing" ] || { say "installed, but still without the programs of: $missing"; exit 69; }
}

install_packages() { # why, which
  if [ "$(id -u)" != 0 ]; then
    say "Debian packages are missing: $2"
    say "$1; install them as root: apt-get install $2"
    exit 69
  fi
  if ! command -v apt-get >/dev/null; then
    say "there is no apt-get here: install the programs of these Debian packages ($1): $2"
    exit 69
  fi
  say "apt-get install $2: $1, and they are not on this machine"
  # Package lists may be absent (containers) or too old to fetch by: update only then.
  # shellcheck disable=SC2086
  if ! apt_install --simulate $2 >/dev/null 2>&1 || ! apt_install $2 >/dev/null 2>&1; then
    say "apt-get update: the package lists are missing or out of date"
    apt-get -qq update >&2 </dev/null
    apt_install $2 >&2
  fi
}

# Nobody wants Docker and two firewalls on a laptop because of a test. They are installed where no service manager runs, so that installing starts nothing
# (containers, most CI), and where it was asked for.
neighbours() {
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
  missing=$(missing_packages "$neighbour_tools")
  [ -n "$missing" ] || return 0
  if [ "${FAIRLEAD_TEST_PACKAGES-}" != all ] && [ "${CI-}" != true ] && [ -d /run/systemd/system ]; then
    say "not on this machine, and not installed, because nobody asked for it: $missing (FAIRLEAD_TEST_PACKAGES=all installs them, stopped and disabled)"
  else
    install_stopped "the coexistence suites run us beside them" "$missing"
    missing=$(missing_packages "$neighbour_tools")
    [ -z "$missing" ] || { say "installed, but still without the programs of: $missing"; exit 69; }
  fi
  [ -z "$missing" ] || printf '%s\n' $missing
}

# Without starting one, now or at the next boot: a firewall would change this machine's own rules.
install_stopped() { # why, which
  policy=/usr/sbin/policy-rc.d # what package scripts ask before they start a service; 101 = do not
  ours=
  trap 'put_policy_back' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if [ "$(id -u)" = 0 ]; then
    [ ! -e "$policy" ] || [ -e "$policy.before-fairlead" ] || mv "$policy" "$policy.before-fairlead" # there already: a run was killed, and this is ours
    ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  install_packages "$1" "$2"
  put_policy_back
  trap - EXIT INT TERM
  [ -d /run/systemd/system ] || return 0
  for package in $2; do
    units=$(dpkg -L "$package" | sed -n 's,^\(/usr\)\{0,1\}/lib/systemd/system/\([^/@]*\.\(service\|socket\)\)$,\2,p')
    # shellcheck disable=SC2086
    [ "$package" = dbus ] || [ -z "$units" ] || systemctl --quiet disable $units >&2 || :
  done
}
put_policy_back() {
  [ -n "$ours" ] || return 0
  ours=
  rm -f "$policy"
  [ ! -e "$policy.before-fairlead" ] || mv "$policy.before-fairlead" "$policy"
}
apt_install() { # waits for another apt that runs
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" </dev/null
}

case ${1-} in
  dependencies) dependencies ;;
  packages) packages ;;
  neighbours) neighbours ;;
  *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
