#!/bin/sh
# Runs in a chroot of a bare Ubuntu 22.04 and makes /archive of the distribution's own packages: the driver in two
# branches, and the two newest kernels for which both have finished modules that the mirror really holds (its index may
# be ahead of its files). Each view below /archive/views is what apt would be offered at some moment:
#
#   first     the older kernel, its modules, one branch
#   window    no modules for the older kernel any more, but for the newer one
#   second    all of it, and a newer build of the tools
#
# Metapackages are in the mirror for its newest kernel only. They have no content, and are made again here, for both.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
now=580-server
next=595-server
series=5.15.0
debs=/archive/debs
mkdir -p "$debs/partial" /tmp/fetched

mirror=$(awk '/^deb /{print $2; exit}' /etc/apt/sources.list)
for suite in jammy jammy-updates jammy-security; do
  echo "deb $mirror $suite main restricted universe multiverse"
done > /etc/apt/sources.list

apt() {
  apt-get -qq -o Acquire::https::CAInfo=/run/ca.pem -o Acquire::Retries=3 -o APT::Sandbox::User=root \
    -o "Dir::Cache::archives=$debs" -o APT::Keep-Downloaded-Packages=true "$@"
}
modules() { echo "linux-modules-nvidia-$1-open-$2"; }
field() { apt-cache show --no-all-versions "$2" | sed -n "s/^$1: //p"; }
file_of() { basename "$(echo "$debs/$1"_*.deb)"; }

apt update

newer=
older=
for release in $(apt-cache pkgnames "$(modules "$now" "$series-")" | sed -n "s/.*-\($series-[0-9]*-generic\)$/\1/p" | sort -Vr); do
  (cd /tmp/fetched && apt download "$(modules "$now" "$release")" "$(modules "$next" "$release")") 2>/dev/null || continue
  if [ -z "$newer" ]; then newer=$release; else older=$release; break; fi
done
[ -n "$older" ] || { echo "the mirror holds modules of both branches for no two kernels" >&2; exit 1; }
echo "kernels $older and $newer"

for branch in "$now" "$next"; do
  # jammy's smallest installation lacks some of what a server has: it comes along, and does no harm.
  apt install --download-only --yes --no-install-recommends "nvidia-headless-no-dkms-$branch-open" \
    "nvidia-utils-$branch" "$(modules "$branch" "$older")" "$(modules "$branch" "$newer")"
done
# nouveau is among what a server's kernel has beside that of a virtual machine.
apt install --download-only --yes --no-install-recommends "linux-modules-extra-$newer"
rm -rf "$debs/partial" "$debs/lock"

package() { # NAME VERSION: an empty one
  mkdir -p /tmp/package/DEBIAN
  printf 'Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody <nobody@localhost>\nDescription: nothing\n' \
    "$1" "$2" > /tmp/package/DEBIAN/control
  dpkg-deb --build /tmp/package "$debs" >/dev/null
}

metapackage() { # NAME RELEASE: as it was when this kernel was the newest
  release=${2%-generic}
  newest=$(field Depends "$1" | grep -o "$series-[0-9]*" | head -n 1)
  exact=$(field Version "linux-modules-$newest-generic")
  wanted=$(field Version "linux-modules-$2")
  mkdir -p /tmp/meta/DEBIAN
  apt-cache show --no-all-versions "$1" |
    sed -n -E 's/^Description-en:/Description:/; /^(Package|Version|Architecture|Maintainer|Section|Source|Depends|Provides|Description): /p' |
    sed "s/$exact/$wanted/g; s/$newest/$release/g; s/$series\.${newest##*-}\./$series.${release##*-}./g" \
      > /tmp/meta/DEBIAN/control
  dpkg-deb --build /tmp/meta "$debs" >/dev/null
}

for release in "$older" "$newer"; do
  metapackage linux-image-virtual "$release"
  metapackage "linux-modules-nvidia-$now-open-generic" "$release"
  metapackage "linux-modules-nvidia-$next-open-generic" "$release"
done
package llmhost-probe 1
package llmhost-probe 2
# A security fix in the driver's tools, such as comes overnight.
dpkg-deb --raw-extract "$debs/$(file_of "nvidia-utils-$now")" /tmp/tools
sed -i 's/^Version: .*/&+fixed/' /tmp/tools/DEBIAN/control
dpkg-deb --build /tmp/tools "$debs" >/dev/null

view() { # NAME, and files on the input
  folder=/archive/views/$1
  mkdir -p "$folder"
  while read -r file; do
    dpkg-deb --field "$debs/$file"
    printf 'Filename: debs/%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$debs/$file")" \
      "$(sha256sum "$debs/$file" | cut -d ' ' -f 1)"
  done > "$folder/Packages"
  # What unattended-upgrades takes by itself is what comes from here.
  {
    printf 'Origin: Ubuntu\nLabel: Ubuntu\nSuite: jammy-security\nCodename: jammy\nArchitectures: amd64\nComponents: main\n'
    printf 'Date: %s\nSHA256:\n %s %s Packages\n' "$(date -Ru)" "$(sha256sum "$folder/Packages" | cut -d ' ' -f 1)" \
      "$(stat -c %s "$folder/Packages")"
  } > "$folder/Release"
}

old_abi=${older%-generic}
new_abi=${newer%-generic}
dotted() { echo "$1" | sed 's/-\([0-9]*\)$/.\1/'; }
is_newer() { grep -e "$new_abi" -e "_$(dotted "$new_abi")" "$@"; }
is_older() { grep -e "$old_abi" -e "_$(dotted "$old_abi")" "$@"; }
is_late() { grep -e "${next%-server}" -e llmhost-probe_2 -e +fixed_ "$@"; }
(cd "$debs" && ls) > /tmp/all
is_late -v /tmp/all | is_newer -v | view first
{ is_late -v /tmp/all | is_older -v; is_older /tmp/all | grep -v nvidia | grep -v virtual; } | view window
view second < /tmp/all
printf '{"now": "%s", "next": "%s", "older": "%s", "newer": "%s"}\n' "$now" "$next" "$older" "$newer" > /archive/about.json
