#!/bin/sh
# Makes a directory with an Ubuntu 22.04 in it: debootstrap with its default mirror, verified by Ubuntu's archive key.
# Usage: jammy_root.sh DIRECTORY [DEBOOTSTRAP OPTION…]   (root; Debian or Ubuntu; DIRECTORY does not exist yet)
set -eu

root=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
cache=${LLMHOST_CACHE:?names the cache directory}/debootstrap
work=$(mktemp -d "${TMPDIR:-/var/tmp}/llmhost-jammy.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
host_keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
# Ubuntu Archive Automatic Signing Key (2018)
key=F6ECB3762474EDA9D21B7022871920D1991BC93C

say() { echo "ubuntu: $*" >&2; }
fail() { say "$*"; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "debootstrap needs root. Run this once as root: what it makes is kept in $LLMHOST_CACHE."

missing=
for tool in debootstrap gpg gpgv; do
  command -v "$tool" >/dev/null || missing="$missing $tool"
done
# shellcheck disable=SC2086  # a list of words
[ -z "$missing" ] || "$here/../../../tools/apt_install.sh" $missing

bootstrap() { # DIRECTORY OPTION…
  into=$1
  shift
  debootstrap --cache-dir="$cache" "$@" jammy "$into" > "$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "debootstrap failed"; }
}

# Debian ships no Ubuntu keyring, and debootstrap without one turns to a Debian mirror. So the keyring is taken from the
# archive itself, and only the one key in it that is named above is trusted: everything is then fetched or read again
# and checked against it.
pinned_keyring() {
  rm -rf "$cache"
  mkdir -p "$cache" "$work/keyring" "$work/gnupg"
  chmod 700 "$work/gnupg"
  bootstrap "$work/download" --variant=minbase --no-check-gpg --download-only
  dpkg-deb -x "$(find "$cache" -name 'ubuntu-keyring_*.deb' | head -n 1)" "$work/keyring"
  gpg --homedir "$work/gnupg" --batch --quiet --import "$work/keyring$host_keyring" 2>/dev/null || true
  gpg --homedir "$work/gnupg" --batch --quiet --export "$key" > "$work/pinned.gpg"
  found=$(gpg --homedir "$work/gnupg" --batch --with-colons --show-keys "$work/pinned.gpg" | awk -F: '/^fpr/{print $10; exit}')
  [ "$found" = "$key" ] || fail "the archive's keyring has no key $key: the mirror is not Ubuntu's, or not genuine"
  echo "$work/pinned.gpg"
}

mkdir -p "$cache"
exec 9>"$cache.lock"
flock 9
if [ -s "$host_keyring" ]; then
  keyring=$host_keyring
else
  keyring=$(pinned_keyring)
fi
bootstrap "$root" --keyring="$keyring" "$@"
grep -q 'gpgv: Good signature\|Valid Release signature' "$work/log" || fail "debootstrap did not check the archive's signature"
rm -rf "$root"/var/cache/apt/archives/*.deb
