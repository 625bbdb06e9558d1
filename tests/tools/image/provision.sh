#!/bin/sh
# Runs once inside a container of a plain Ubuntu 22.04 and makes it a small server: systemd, Python, the tools every
# Ubuntu server has. Nothing of llmhost: its roles install what they need, the company's CA certificates included.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

# What debootstrap leaves is one line for one pocket; a server has all of them, from the same mirror.
if [ "$(grep -c '^deb ' /etc/apt/sources.list)" -eq 1 ]; then
  mirror=$(awk '/^deb /{print $2; exit}' /etc/apt/sources.list)
  for suite in jammy jammy-updates jammy-security; do
    echo "deb $mirror $suite main restricted universe multiverse"
  done > /etc/apt/sources.list
fi

apt() {
  # The builder's certificates (/run/ca.pem) are used and not kept: they let apt through a TLS-inspecting network.
  apt-get -qq -o Acquire::https::CAInfo=/run/ca.pem -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@"
}

apt update
apt install -y --no-install-recommends \
  apt-utils ca-certificates dbus e2fsprogs iproute2 kmod procps python3 python3-apt sudo systemd systemd-sysv udev \
  util-linux >/var/log/provision.log 2>&1 || { tail -n 20 /var/log/provision.log; exit 1; }

# A container has no consoles, and its host's modules, clock and journal are not its own.
systemctl mask --quiet \
  console-getty.service getty.target getty-static.service systemd-logind.service systemd-modules-load.service \
  systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
  systemd-remount-fs.service systemd-resolved.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer

apt clean
rm -rf /var/lib/apt/lists/* /var/log/provision.log /etc/machine-id
# Empty lists that look new would be taken for valid.
touch -d @0 /var/lib/apt/lists
: > /etc/machine-id
