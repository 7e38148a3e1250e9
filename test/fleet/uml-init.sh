#!/bin/bash
# Process 1 of the guest that uml.ts starts: a tree in memory over the machine's, kernel file systems, modules, the command, its exit code, off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
off() { sync; echo o >/proc/sysrq-trigger; sleep 60; }
die() { echo "uml-init: $*" >/dev/console; off; }

mapfile -d '' -t plan </run/fairlead-uml/plan # before /run is ours
folders=("${plan[@]:2:plan[0]}")
variables=("${plan[@]:2+plan[0]:plan[1]}")
command=("${plan[@]:2+plan[0]+plan[1]}") # the working directory first
release=$(uname -r)
modules=/usr/lib/uml/modules/$release # where Debian has them: not where modprobe looks

mount -t proc proc /proc || exit 1
mount -t tmpfs -o mode=755 tmpfs /run
insmod "$modules/kernel/fs/overlayfs/overlay.ko" || die "no overlay module in $modules"
mkdir -p /run/overlay/upper /run/overlay/work /run/root
mount -t overlay -o lowerdir=/,upperdir=/run/overlay/upper,workdir=/run/overlay/work overlay /run/root || die "no overlay"
cd /run/root || die "no root"
mkdir -p proc sys dev run tmp lib/modules .old
for folder in "${folders[@]}"; do
  mkdir -p ".$folder" && mount -t hostfs -o "$folder" none ".$folder" || die "cannot mount $folder"
done
umount /proc
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs dev dev || die "no devtmpfs"
pivot_root . .old && umount -l /.old || die "no pivot_root"
cd / || die "no /"
rmdir /.old
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p -m 1777 /run/lock
ln -sfn /proc/self/fd /dev/fd
ln -sfn fd/0 /dev/stdin
ln -sfn fd/1 /dev/stdout
ln -sfn fd/2 /dev/stderr
rm -rf "/lib/modules/$release"
ln -s "$modules" "/lib/modules/$release"
for tool in iptables ip6tables; do # this kernel's nf_tables has no family at all
  for form in "" -restore -save; do ln -sfn "/usr/sbin/$tool-legacy$form" "/etc/alternatives/$tool$form"; done
done
ip link set lo up
hostname uml
for module in ipv6 br_netfilter; do modprobe "$module" || die "cannot load $module"; done # the rest load themselves on use

for line in 0 1 2; do stty -F /dev/ttyS$line raw -echo -onlcr; done # as it is, byte for byte
mkfifo /run/stdout /run/stderr
cat /run/stdout >/dev/ttyS0 &
carriers=$!
cat /run/stderr >/dev/ttyS1 &
carriers="$carriers $!"
env -i --chdir="${command[0]}" "${variables[@]}" "${command[@]:1}" </dev/null >/run/stdout 2>/run/stderr
code=$?
for entry in /proc/[0-9]*; do # whatever it left running would hold the pipes open
  pid=${entry#/proc/}
  case " 1 $carriers " in *" $pid "*) continue ;; esac
  [ -z "$(readlink "$entry/exe")" ] || kill -KILL "$pid"
done 2>/run/kill.log
# shellcheck disable=SC2086
wait $carriers
echo "$code" >/dev/ttyS2
for line in 0 1 2; do stty -F /dev/ttyS$line cooked; done # waits until all of it is out
off
