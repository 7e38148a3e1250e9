#!/bin/sh
# Installs what this checkout needs and does not have; says what and why; does nothing, quickly, when all is there.
#   setup.sh dependencies   the npm packages of package-lock.json, Node 24 among them   (exit 69: npm is missing)
#   setup.sh packages       the Debian packages that the kernel test suites run         (exit 69: cannot be installed)
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

# One line each: the Debian package and a program that shows it is there.
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
kmod            modprobe
procps          sysctl
util-linux      nsenter
openssl         openssl
'

missing_packages() {
  printf '%s' "$kernel_tools" | while read -r package program; do
    [ -z "$package" ] || command -v "$program" >/dev/null || printf '%s ' "$package"
  done | sed 's/ $//'
}

packages() {
  PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    say "Debian packages are missing: $missing"
    say "The kernel suites (e2e) run them; install them as root: apt-get install $missing"
    exit 69
  fi
  if ! command -v apt-get >/dev/null; then
    say "there is no apt-get here: install the programs of these Debian packages, which the kernel suites (e2e) run: $missing"
    exit 69
  fi
  say "apt-get install $missing: the kernel suites (e2e) run these programs, and they are not on this machine"
  # Package lists may be absent (containers) or too old to fetch by: update only then.
  # shellcheck disable=SC2086
  if ! apt_install --simulate $missing >/dev/null 2>&1 || ! apt_install $missing >/dev/null 2>&1; then
    say "apt-get update: the package lists are missing or out of date"
    apt-get -qq update >&2 </dev/null
    apt_install $missing >&2
  fi
  missing=$(missing_packages)
  [ -z "$missing" ] || { say "installed, but still without the programs of: $missing"; exit 69; }
}
apt_install() { # waits for another apt that runs
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "$@" </dev/null
}

case ${1-} in
  dependencies) dependencies ;;
  packages) packages ;;
  *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
