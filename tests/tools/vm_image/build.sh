#!/bin/sh
# Makes the disk of a bare Ubuntu 22.04 server, laid out as clouds lay theirs out, and its kernel beside it.
# Usage: build.sh DIRECTORY   (root; leaves disk.raw, vmlinuz, initrd.img there; GRUB is installed by the first boot)
set -eu

out=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/llmhost-vm-image.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
disk_mib=4096
root_start_mib=112 # after GRUB's partition and the EFI system partition, as in Ubuntu's own image

say() { echo "vm image: $*" >&2; }

ca_bundle() {
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
    [ -s "$file" ] && echo "$file" && return
  done
  echo /dev/null
}

in_root() { # COMMAND… : its mounts end with it
  # shellcheck disable=SC2016  # for the inner shell to expand
  unshare --mount --pid --fork --kill-child sh -euc '
    root=$1; shift
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sysfs "$root/sys"
    exec chroot "$root" "$@"' in_root "$root" "$@"
}

say "debootstrap (a minute)"
"$here/../image/jammy_root.sh" "$root" --include=ca-certificates
mkdir -p "$root/run"
cat "$(ca_bundle)" > "$root/run/ca.pem"
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp "$here/provision.sh" "$root/provision.sh"
say "kernel, cloud-init, sshd and the tools of a server (some minutes)"
in_root /bin/sh /provision.sh >&2
rm -rf "$root/provision.sh" "$root/usr/sbin/policy-rc.d" "$root/run/ca.pem"
cp "$here/first_boot.sh" "$root/first_boot.sh"
chmod 755 "$root/first_boot.sh"
cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd.img"

say "filesystem"
truncate -s 106M "$root/esp.img"
in_root mkfs.vfat -n UEFI /esp.img >/dev/null
mv "$root/esp.img" "$work/esp.img"
rm -f "$out/disk.raw"
truncate -s "${disk_mib}M" "$out/disk.raw"
sgdisk --clear \
  --new=14:2048:+4M --typecode=14:ef02 \
  --new=15:0:+106M --typecode=15:ef00 \
  "--new=1:${root_start_mib}M:0" --typecode=1:8300 "$out/disk.raw" >/dev/null
esp_start=$(sgdisk --info=15 "$out/disk.raw" | awk '/First sector/{print $3}')
dd if="$work/esp.img" of="$out/disk.raw" bs=512 seek="$esp_start" conv=notrunc,sparse status=none
# This machine's e2fsprogs may be newer than the guest's kernel, fsck and GRUB: the features are those of jammy.
cat > "$work/mke2fs.conf" <<'END'
[defaults]
base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
default_mntopts = acl,user_xattr
blocksize = 4096
inode_size = 256
inode_ratio = 16384
[fs_types]
ext4 = {
  features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
}
END
root_kib=$(((disk_mib - root_start_mib - 1) * 1024))
MKE2FS_CONFIG=$work/mke2fs.conf mkfs.ext4 -q -F -t ext4 -L cloudimg-rootfs -d "$root" \
  -E "offset=$((root_start_mib << 20)),lazy_itable_init=0" "$out/disk.raw" "${root_kib}k"
