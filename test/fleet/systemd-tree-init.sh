#!/bin/sh
# Boots a Debian tree inside the namespaces of a host of the fleet: systemd as process 1, in namespaces and a cgroup of its own.
#   systemd-tree-init.sh boot TREE WORK NAME PATH…   in the host: what is written to the tree goes to WORK; each PATH of this machine is seen inside
#   systemd-tree-init.sh inside ROOT PATH…           called by the former
set -eu
verb=$1
shift
case $verb in
  boot)
    tree=$1 work=$2 name=$3
    shift 3
    mkdir -p "$work/upper" "$work/work" "$work/root" "$work/cgroup"
    mountpoint -q "$work/root" || mount -t overlay -o "lowerdir=$tree,upperdir=$work/upper,workdir=$work/work" "$name" "$work/root"
    # A cgroup of its own, which it then takes for the root: otherwise it would move this machine's processes about.
    mount -t cgroup2 "$name" "$work/cgroup"
    mkdir -p "$work/cgroup/$name"
    echo $$ >"$work/cgroup/$name/cgroup.procs"
    umount "$work/cgroup"
    exec unshare --pid --mount --propagation private --ipc --uts --cgroup --fork --kill-child=KILL sh "$0" inside "$work/root" "$@"
    ;;
  inside)
    root=$1
    shift
    cd "$root"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t cgroup2 cgroup sys/fs/cgroup
    for folder in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs $folder; done
    for device in null zero full random urandom tty; do
      touch dev/$device
      mount --bind /dev/$device dev/$device
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
    mount -t tmpfs tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    for path in "$@"; do
      mkdir -p ".$path"
      mount --rbind "$path" ".$path"
    done
    mkdir -p .old
    pivot_root . .old
    cd /
    umount -l /.old
    # container=: it must not set clocks, load modules or the like.
    exec env -i container=fairlead-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console --show-status=1 </dev/null
    ;;
esac
