#!/bin/sh
# Installs packages of the distribution, and says so. Usage: apt_install.sh PACKAGE…   (root; Debian or Ubuntu)
set -eu

fail() { echo "apt: $*" >&2; exit 1; }

command -v apt-get >/dev/null || fail "this machine has no apt-get; install by its own means: $*"
[ "$(id -u)" -eq 0 ] || fail "only root can install. Run: sudo apt-get install $*"
echo "apt: installing $*" >&2
export DEBIAN_FRONTEND=noninteractive
# A machine that was just started may be upgrading itself: wait for it.
set -- -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@"
apt-get -qq -o DPkg::Lock::Timeout=300 update
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt-get "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "apt-get failed"; }
