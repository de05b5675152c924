# shellcheck shell=bash
# kill -9 of the server under verified load, three times, and a stop in good order: the initiator logs in
# again, no I/O fails, and everything that was acknowledged is there.
. "$LAB/guest-lib.sh"
iscsi_up
iscsi_add "$HOST_ADDR:3260" node.session.timeo.replacement_timeout 120
iscsi_login "$HOST_ADDR:3260"
dev=$(disk 0)
load "$dev" 30
for round in 1 2 3; do
    sleep 4
    load_runs || fail "the load ended before kill $round"
    step "kill $round"
    host server kill
    host server start
done
sleep 4
load_runs || fail "the load ended before the stop"
step "stop"
host server stop
host server start
load_ends
step "the same file system through one more kill"
mkfs.ext4 -q -F "$dev"
mkdir /mnt/a
mount -t ext4 "$dev" /mnt/a
head -c 32M /dev/urandom >/mnt/a/file
sync
sha256sum /mnt/a/file >/run/sum
host server kill
host server start
echo 3 >/proc/sys/vm/drop_caches
sha256sum --quiet -c /run/sum
umount /mnt/a
e2fsck -fn "$dev" >/run/check 2>&1 || fail "$(cat /run/check)"
iscsi_logout "$HOST_ADDR:3260"
