#!/bin/sh
# PID 1 of a bed: gives systemd what a container lacks, then becomes it.
set -eu

if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  # cgroup v2: Docker mounts the container's own tree read-only.
  mount -o remount,rw /sys/fs/cgroup
else
  # cgroup v1: mount the hierarchies anew, rooted at this container's own cgroup namespace.
  umount -l /sys/fs/cgroup 2>/dev/null || true
  mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
  mkdir /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd,xattr cgroup /sys/fs/cgroup/systemd
  cut -d : -f 2 /proc/self/cgroup | grep -v -e = -e '^$' | while read -r controllers; do
    mkdir -p "/sys/fs/cgroup/$controllers"
    mount -t cgroup -o "$controllers" cgroup "/sys/fs/cgroup/$controllers" 2>/dev/null \
      || rmdir "/sys/fs/cgroup/$controllers"
  done
fi

# Docker's mounts are private; LoadCredential= of a unit is seen by the unit only where they propagate.
mount --make-rshared /
exec /sbin/init
