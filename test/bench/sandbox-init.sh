#!/bin/sh
# The first program in the new network and mount namespaces of a sandbox:  sandbox-init.sh COMMAND...
# Makes a host with an address and a default route out of them, and becomes the command. All of it is gone with the last process.
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 sandbox /run # xtables.lock is this sandbox's own
ip link set lo up
ip link add eth0 type bridge # holds an address without a peer; not every kernel has dummy devices
ip addr add 172.30.0.1/16 dev eth0
ip link set eth0 up
ip route add default via 172.30.255.254 onlink dev eth0
# What a connection leaves behind does not pile up while thousands are made.
for setting in net/ipv4/ip_local_port_range="1024 65535" net/netfilter/nf_conntrack_tcp_timeout_close=1; do
  [ ! -e "/proc/sys/${setting%%=*}" ] || echo "${setting#*=}" >"/proc/sys/${setting%%=*}"
done
exec "$@"
