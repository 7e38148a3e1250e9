#!/bin/sh
# Runs once inside the new network, mount and hostname namespaces of a host, and stays: it is what keeps them.
#   host-init.sh NAME nft|legacy    prints "ready" when the host can be used
set -eu
name=$1 kind=$2

echo "$name" >/proc/sys/kernel/hostname
for setting in ipv4/ip_forward=1 ipv6/conf/all/forwarding=1 ipv4/conf/all/rp_filter=0 ipv4/conf/default/rp_filter=0 \
  ipv6/conf/all/accept_dad=0 ipv6/conf/default/accept_dad=0; do
  echo "${setting#*=}" >"/proc/sys/net/${setting%%=*}"
done

mount -t sysfs sysfs /sys # the machine's shows the machine's network devices
# An own /run: sockets and /run/xtables.lock are not shared with other hosts, and the machine's systemd cannot be reached.
mount -t tmpfs -o mode=755 fleet /run
# An own /etc and /var/lib, in memory: what is written there is seen by this host alone, and gone with it.
for folder in /etc /var/lib; do
  mkdir -p "/run/fleet$folder/upper" "/run/fleet$folder/work"
  mount -t overlay -o "lowerdir=$folder,upperdir=/run/fleet$folder/upper,workdir=/run/fleet$folder/work" fleet "$folder"
done

rm -f /etc/resolv.conf /etc/hosts
echo "nameserver 127.0.0.53" >/etc/resolv.conf
printf '127.0.0.1 localhost %s\n::1 localhost\n' "$name" >/etc/hosts
echo "$name" >/etc/hostname
for program in iptables ip6tables; do # which of the two Debian's plain iptables is
  for form in "" -save -restore; do
    ln -sfn "/usr/sbin/$program-$kind$form" "/etc/alternatives/$program$form"
  done
done

echo ready
exec sleep infinity </dev/null >/dev/null 2>&1
