#!/bin/sh
# Makes the image of the beds, an Ubuntu 22.04 server with systemd, and prints its name: llmhost-bed:jammy-<recipe hash>.
# The plain Ubuntu below it comes from the local daemon, else a registry, else debootstrap with its default mirror.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${LLMHOST_CACHE:-$(cd "$here/../../.." && pwd)/.cache}
hash=$(cat "$here/provision.sh" "$here/init.sh" | sha256sum | cut -c 1-12)
image="llmhost-bed:jammy-$hash"
base=ubuntu:22.04
bootstrapped="llmhost-base:jammy"

say() { echo "bed image: $*" >&2; }
have_image() { docker image inspect "$1" >/dev/null 2>&1; }

find_base() {
  if have_image "$base"; then
    echo "$base"
  elif have_image "$bootstrapped"; then
    echo "$bootstrapped"
  elif timeout 60 docker pull -q "$base" >/dev/null 2>&1; then
    echo "$base"
  else
    say "no registry gives $base; making it with debootstrap"
    LLMHOST_CACHE="$cache" "$here/bootstrap.sh" "$bootstrapped"
    echo "$bootstrapped"
  fi
}

ca_bundle() {
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
    [ -s "$file" ] && echo "$file" && return
  done
  echo /dev/null
}

build() {
  from=$(find_base)
  say "building $image on $from (about 2 minutes)"
  builder="llmhost-bed-build-$$"
  trap 'docker rm -f "$builder" >/dev/null 2>&1 || true' EXIT
  docker create --name "$builder" -e http_proxy -e https_proxy -e no_proxy -v "$(ca_bundle):/run/ca.pem:ro" \
    "$from" /bin/sh /provision.sh >/dev/null
  docker cp "$here/provision.sh" "$builder:/provision.sh" >/dev/null 2>&1
  docker cp "$here/init.sh" "$builder:/sbin/bed-init" >/dev/null 2>&1
  docker start -a "$builder" >&2
  docker commit -c 'CMD ["/sbin/bed-init"]' -c 'ENV container=docker http_proxy= https_proxy= no_proxy=' \
    "$builder" "$image" >/dev/null
}

have_image "$image" || build
docker tag "$image" llmhost-bed:jammy
echo "$image"
