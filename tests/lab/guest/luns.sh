# shellcheck shell=bash
# Kinds of LUN as a kernel sees them: 4 KiB blocks, read-only, without a write cache, high numbers, none at
# number 0; a clone, a rollback; and a host that is no more.
. "$LAB/guest-lib.sh"
portal=$HOST_ADDR:3260
say_of() { cat "/sys/block/${1##*/}/$2"; }
map() { host ashlar lun map "fast/$1" --host guest --lun "$2" "${@:3}" >/dev/null; }

step "no LUN 0, and one above 255"
host ashlar volume create fast/native --size 512M --block-size 4096
host ashlar volume create fast/durable --size 64M --write-cache off
map native 5
map durable 300
iscsi_up
REPLACEMENT_TIMEOUT=5 iscsi_add "$portal"
iscsi_login "$portal"
native=$(disk 5)
durable=$(disk $((0x4000 | 300))) # so Linux numbers what is addressed flat
[ "$(say_of "$native" queue/logical_block_size)" = 4096 ] || fail "not 4 KiB"
[ "$(say_of "$native" queue/write_cache)" = 'write back' ] || fail "no write cache"
[ "$(say_of "$durable" queue/write_cache)" = 'write through' ] || fail "a write cache"

step "a file system on 4 KiB blocks, its snapshot, and a clone beside it"
mkfs.xfs -q -f "$native"
mkdir /mnt/a /mnt/b
mount "$native" /mnt/a
head -c 16M /dev/urandom >/mnt/a/file
sha256sum </mnt/a/file >/run/sum
sync
host ashlar snapshot create fast/native@then >/dev/null
echo changed >/mnt/a/file
sync
host ashlar clone fast/native@then fast/clone >/dev/null
map clone 6 --read-only
clone=$(disk 6)
[ "$(say_of "$clone" ro)" = 1 ] || fail "it can be written"
must_fail dd if=/dev/zero of="$clone" bs=4k count=1 oflag=direct
# Its log is as a crash leaves it, and a read-only disk cannot replay it.
mount -o ro,norecovery,nouuid "$clone" /mnt/b
[ "$(cat /mnt/a/file)" = changed ] || fail "the origin is not what was written"
umount /mnt/a /mnt/b

step "a rollback"
must_fail host ashlar snapshot rollback fast/native@then --yes
host ashlar snapshot rollback fast/native@then --yes --force >/dev/null
answers() { dd if="$native" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null; }
until_true 30 answers
blockdev --flushbufs "$native"
mount "$native" /mnt/a
sha256sum </mnt/a/file | cmp - /run/sum
umount /mnt/a
xfs_repair -n "$native" >/run/check 2>&1 || fail "$(cat /run/check)"

step "a host that is no more"
must_fail host ashlar host delete guest --yes
host ashlar host delete guest --yes --force
must_fail dd if="$native" of=/dev/null bs=4k count=1 iflag=direct
must_fail iscsiadm -m discovery -t sendtargets -p "$portal"
