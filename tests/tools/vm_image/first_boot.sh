#!/bin/sh
# Process 1 of the image's very first boot, from a kernel given to the machine: what needs the running disk.
# Afterwards the image boots by itself, and nothing of this is left in it.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
exec >/dev/ttyS0 2>&1

install_bootloader() {
  mount -o remount,rw / && mount -t tmpfs tmpfs /tmp &&
    grub-install --target=i386-pc /dev/vda && update-grub && grep -q 'root=' /boot/grub/grub.cfg
}

mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sysfs /sys
mountpoint -q /run || mount -t tmpfs tmpfs /run
if install_bootloader; then
  rm -f /first_boot.sh
  sync
  echo "first boot: done"
else
  echo "first boot: FAILED"
fi
mount -o remount,ro /
echo o > /proc/sysrq-trigger
sleep 60
