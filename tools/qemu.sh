#!/bin/sh
# Makes sure that QEMU and what the virtual machines are made with is here: as root on Debian or Ubuntu it is installed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
missing=
while read -r command package; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null || missing="$missing $package"
done <<END
qemu-system-x86_64 qemu-system-x86
qemu-img qemu-utils
sgdisk gdisk
mkfs.ext4 e2fsprogs
genisoimage genisoimage
zstd zstd
ssh openssh-client
END
# shellcheck disable=SC2086  # a list of words
[ -z "$missing" ] || "$here/apt_install.sh" $missing
