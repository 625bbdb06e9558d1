#!/bin/sh
# Makes sure that a Docker daemon answers: a running one is used; else, as root on Debian or Ubuntu, the distribution's
# is installed and started; else this says what to do.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
log=/var/log/llmhost-dockerd.log

say() { echo "docker: $*" >&2; }
fail() { say "$*"; exit 1; }
answers() { docker info >/dev/null 2>&1; }
wait_for_daemon() { # SECONDS
  for _ in $(seq "$1"); do
    answers && return
    sleep 1
  done
  return 1
}

! answers || exit 0

if command -v docker >/dev/null && docker info 2>&1 | grep -qi 'permission denied'; then
  fail "a daemon runs, but $(id -un) may not use it. As root: usermod -aG docker $(id -un); then log in again."
fi
[ "$(id -u)" -eq 0 ] ||
  fail "no daemon answers, and only root can install and start one: sudo apt-get install docker.io; sudo usermod -aG docker $(id -un)"

if ! command -v dockerd >/dev/null; then
  "$here/apt_install.sh" docker.io iptables
  # Debian 13 and later split the command from the daemon.
  command -v docker >/dev/null || "$here/apt_install.sh" docker-cli
fi

mount_cgroups() { # the work of an init, where none has done it
  if [ -e /sys/fs/cgroup/cgroup.controllers ] || grep -q ' /sys/fs/cgroup' /proc/mounts; then return; fi
  if grep -qw cgroup2 /proc/filesystems; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    return
  fi
  mount -t tmpfs -o mode=0755 cgroup /sys/fs/cgroup
  awk '!/^#/ && $4 == 1 {print $1}' /proc/cgroups | while read -r controller; do
    mkdir "/sys/fs/cgroup/$controller"
    mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
  done
}

forget_killed() { # PIDFILE PROGRAM: a daemon that was killed leaves its pid file, and the number may be another's by now
  pid=$(cat "$1" 2>/dev/null) || return 0
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || rm -f "$1"
}

if [ -d /run/systemd/system ]; then
  say "starting docker.service"
  systemctl enable --quiet --now docker.service || true
else
  say "starting dockerd in the background; this machine has no systemd. Its log: $log"
  mount_cgroups
  forget_killed /run/docker.pid dockerd
  forget_killed /run/docker/containerd/containerd.pid containerd
  # A new session: the daemon outlives this command and its terminal.
  setsid dockerd >"$log" 2>&1 </dev/null &
fi

wait_for_daemon 60 && exit 0
{ tail -n 15 "$log" 2>/dev/null || journalctl -n 15 --no-pager -u docker; } >&2
fail "the daemon does not answer after 60 s; its last words stand above"
