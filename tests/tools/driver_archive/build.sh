#!/bin/sh
# Makes a small archive of real packages for machines that learn to bring a driver: see collect.sh.
# Usage: build.sh DIRECTORY   (root; leaves the archive there)
set -eu

out=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/llmhost-driver-archive.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

say() { echo "driver archive: $*" >&2; }

ca_bundle() {
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
    [ -s "$file" ] && echo "$file" && return
  done
  echo /dev/null
}

say "debootstrap (a minute)"
"$here/../image/jammy_root.sh" "$root" --include=ca-certificates
mkdir -p "$root/run"
cat "$(ca_bundle)" > "$root/run/ca.pem"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp "$here/collect.sh" "$root/collect.sh"
say "two branches of the driver, and two kernels (half a GB)"
# shellcheck disable=SC2016  # for the inner shell to expand
unshare --mount --pid --fork --kill-child sh -euc 'mount -t proc proc "$1/proc"; exec chroot "$1" /bin/sh /collect.sh' \
  in_root "$root" >&2
mv "$root/archive"/* "$out"
