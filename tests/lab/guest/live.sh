# shellcheck shell=bash
# What an administrator does beside a live session: a volume grows, a LUN comes, goes and comes back. The
# kernel hears of each by the right unit attention, and a rescan shows it.
. "$LAB/guest-lib.sh"
bytes() { blockdev --getsize64 "$1"; }
has_bytes() { [ "$(bytes "$1")" = "$2" ]; }
iscsi_up
iscsi_add "$HOST_ADDR:3260"
iscsi_login "$HOST_ADDR:3260"
dev=$(disk 0)

step "growing under a mounted file system"
mkfs.ext4 -q -F "$dev"
mkdir /mnt/a
mount -t ext4 "$dev" /mnt/a
echo kept >/mnt/a/file
has_bytes "$dev" $((64 << 20)) || fail "$(bytes "$dev") bytes"
forget
host ashlar volume resize fast/live --size 128M
sg_turs "$dev" || true
until_true 10 logged 'Capacity data has changed' # 2A/09
rescan
until_true 10 has_bytes "$dev" $((128 << 20))
resize2fs "$dev" >/dev/null 2>&1
[ "$(df --output=size -m /mnt/a | tail -n 1)" -gt 100 ] || fail "the file system did not grow"
grep -q kept /mnt/a/file
umount /mnt/a
e2fsck -fn "$dev" >/run/check 2>&1 || fail "$(cat /run/check)"

step "shrinking is refused while a session can reach it"
must_fail host ashlar volume resize fast/live --size 64M --yes

step "a LUN comes: the initiator is told, and looks by itself"
host ashlar volume create fast/second --size 32M
host ashlar lun map fast/second --host guest --lun 7
second=$(disk 7)
has_bytes "$second" $((32 << 20)) || fail "$(bytes "$second") bytes"

step "a session that looks only when it is asked to"
iscsi_logout "$HOST_ADDR:3260"
node "$HOST_ADDR:3260" -o update -n node.session.scan -v manual
iscsi_login "$HOST_ADDR:3260"
rescan
dev=$(disk 0)
second=$(disk 7)
dd if=/dev/urandom of="$second" bs=1M count=4 oflag=direct status=none
dd if="$second" of=/run/written bs=1M count=4 iflag=direct status=none

step "a LUN goes, whatever runs on it"
forget
host ashlar lun unmap fast/second --host guest --yes
must_fail dd if="$second" of=/dev/null bs=1M count=1 iflag=direct
sg_turs "$dev" || true
until_true 10 logged 'LUN assignments on this target have changed' # 3F/0E
sg_luns "$dev" >/run/luns
! grep -q '^ *0007' /run/luns || fail "REPORT LUNS still lists it: $(cat /run/luns)"
# The kernel drops a disk only when it is told to; nothing brings this one back.
echo 1 >"/sys/block/${second##*/}/device/delete"
rescan
must_fail has_lun 7
dd if="$dev" of=/dev/null bs=1M count=4 iflag=direct status=none

step "and comes again, with what it held"
forget
host ashlar lun map fast/second --host guest --lun 7
sg_turs "$dev" || true
until_true 10 logged 'LUN assignments on this target have changed'
must_fail has_lun 7
rescan
cmp -n $((4 << 20)) "$(disk 7)" /run/written
iscsi_logout "$HOST_ADDR:3260"
