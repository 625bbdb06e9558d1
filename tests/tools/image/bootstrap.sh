#!/bin/sh
# Imports a minimal Ubuntu 22.04, made by debootstrap and verified by Ubuntu's archive key, as a Docker image.
# Usage: bootstrap.sh IMAGE   (root; Debian or Ubuntu)
set -eu

image=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/llmhost-bootstrap.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

[ "$(id -u)" -eq 0 ] || {
  echo "bed image: no registry could be reached, and debootstrap needs root. Run this once as root, or put an Ubuntu" \
    "22.04 image into the daemon yourself: docker load < ubuntu.tar; docker tag … ubuntu:22.04" >&2
  exit 1
}
"$here/jammy_root.sh" "$work/root" --variant=minbase --include=ca-certificates
tar -C "$work/root" --one-file-system -c . | docker import - "$image" >/dev/null
