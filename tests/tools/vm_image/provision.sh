#!/bin/sh
# Runs in a chroot of what debootstrap left and makes it what a cloud's Ubuntu 22.04 server image is: the distribution's
# kernel, GRUB, cloud-init, sshd, and what such images carry for disks. Nothing of llmhost, no key, no user.
# /run/ca.pem holds the builder's certificates: they let apt through a TLS-inspecting network, and are not kept.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mirror=$(awk '/^deb /{print $2; exit}' /etc/apt/sources.list)
for suite in jammy jammy-updates jammy-security; do
  echo "deb $mirror $suite main restricted universe multiverse"
done > /etc/apt/sources.list

apt() {
  apt-get -qq -o Acquire::https::CAInfo=/run/ca.pem -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confold "$@"
}
quietly() {
  "$@" >/tmp/log 2>&1 || { tail -n 20 /tmp/log; exit 1; }
}

# The disk that GRUB was installed on, for GRUB's own upgrades.
echo "grub-pc grub-pc/install_devices multiselect /dev/vda" | debconf-set-selections
echo "grub-pc grub-pc/install_devices_empty boolean true" | debconf-set-selections

mkdir -p /etc/initramfs-tools/conf.d
# Several packages would each make the initramfs; it is made once, below.
echo "update_initramfs=no" > /etc/initramfs-tools/update-initramfs.conf
quietly apt update
quietly apt upgrade -y
quietly apt install -y --no-install-recommends \
  linux-image-virtual initramfs-tools grub-pc zstd linux-base \
  cloud-init cloud-guest-utils netplan.io openssh-server sudo ca-certificates \
  systemd-timesyncd unattended-upgrades update-notifier-common needrestart ubuntu-minimal apparmor ufw \
  python3 python3-apt dbus udev acpid polkitd \
  mdadm lvm2 thin-provisioning-tools multipath-tools kpartx dmsetup btrfs-progs xfsprogs e2fsprogs dosfstools \
  cryptsetup cryptsetup-initramfs gdisk parted fdisk bcache-tools nvme-cli smartmontools sg3-utils ethtool pciutils \
  curl wget gnupg rsync psmisc lsof strace htop file bc
kernel=$(find /lib/modules -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V | tail -n 1)
# zram, and what else a full server's kernel has beside the one for clouds.
quietly apt install -y --no-install-recommends "linux-modules-extra-$kernel"

# ZFS is not on a server; a test that needs its labels finds its tools here.
mkdir -p /opt/test-tools /tmp/debs
(cd /tmp/debs && quietly apt download zfsutils-linux libzfs4linux libzpool5linux libnvpair3linux libuutil3linux libzfsbootenv1linux)
for deb in /tmp/debs/*.deb; do
  dpkg -x "$deb" /opt/test-tools
done

cat > /etc/fstab <<'END'
LABEL=cloudimg-rootfs	/	ext4	discard,errors=remount-ro	0 1
LABEL=UEFI	/boot/efi	vfat	umask=0077,nofail	0 1
END
mkdir -p /boot/efi /etc/default/grub.d
# As in the cloud's image: a console on the serial line, no menu, no delay.
cat > /etc/default/grub.d/50-cloudimg-settings.cfg <<'END'
GRUB_RECORDFAIL_TIMEOUT=0
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX_DEFAULT="console=tty1 console=ttyS0"
GRUB_TERMINAL=console
END
cat > /etc/initramfs-tools/update-initramfs.conf <<'END'
update_initramfs=yes
backup_initramfs=no
END
quietly update-initramfs -c -k "$kernel"

apt clean
rm -rf /var/lib/apt/lists/* /tmp/* /var/tmp/* /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id \
  /var/lib/systemd/random-seed /etc/hostname /etc/resolv.conf
# Empty lists that look new would be taken for valid.
touch -d @0 /var/lib/apt/lists
: > /etc/machine-id
echo ubuntu > /etc/hostname
ln -s ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
