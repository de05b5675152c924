#!/usr/bin/env bash
# machine-image.sh FILE: makes the disk of a small machine, raw: a boot loader, a kernel, and an init that
# tells what it finds. On its first boot it writes data to its disk; on every later one it checks them. It
# needs no root, and what setup.sh has fetched.
set -euo pipefail
image=${1:?usage: machine-image.sh FILE}
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/ashlar-lab
tools=$cache/tools
PATH=$tools/usr/bin:$tools/usr/sbin:$PATH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

root=$scratch/root
mkdir -p "$root"/{bin,dev,proc,modules}
cp "$tools/bin/busybox" "$root/bin/"
cp "$cache"/machine/modules/*.ko "$root/modules/"
cat >"$root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
exec >/dev/ttyS0 2>&1
for module in /modules/*.ko; do insmod "$module"; done
# Behind the file system: 4 MiB of data, and before them their checksum.
piece() { dd if=/dev/vda bs=1M skip=33 count=4 2>/dev/null | sha256sum | cut -c 1-64; }
known=$(dd if=/dev/vda bs=1M skip=32 count=1 2>/dev/null | head -c 64 | tr -d '\0')
if [ -z "$known" ]; then
    dd if=/dev/urandom of=/dev/vda bs=1M seek=33 count=4 conv=fsync 2>/dev/null
    piece | dd of=/dev/vda bs=1M seek=32 conv=fsync 2>/dev/null
    echo "machine: first boot"
elif [ "$known" = "$(piece)" ]; then
    echo "machine: booted again, its data are as it wrote them"
else
    echo "machine: other data than it wrote"
fi
poweroff -f
INIT
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$scratch/initrd"
printf 'DEFAULT linux\nLABEL linux\nKERNEL vmlinuz\nINITRD initrd\nAPPEND %s\n' \
    'console=ttyS0 quiet panic=-1 mitigations=off nokaslr' >"$scratch/syslinux.cfg"

truncate -s 32M "$image"
mkfs.vfat "$image" >/dev/null
mcopy -i "$image" "$cache/machine/vmlinuz" "$scratch/initrd" "$scratch/syslinux.cfg" ::
syslinux --install "$image"
truncate -s 40M "$image"
