# shellcheck shell=bash
# A thin volume in a pool that is too small for it: what finds no room fails with the right error, reads go
# on, and what the host trims can be written again.
. "$LAB/guest-lib.sh"
iscsi_up
iscsi_add "$HOST_ADDR:3260"
iscsi_login "$HOST_ADDR:3260"
dev=$(disk 0)
head -c 16M /dev/urandom >/dev/shm/first
dd if=/dev/shm/first of="$dev" bs=1M oflag=direct conv=fsync status=none

step "written until the pool is full"
forget
written=0
while head -c 4M /dev/urandom >/dev/shm/piece &&
    dd if=/dev/shm/piece of="$dev" bs=1M seek=$((16 + written)) oflag=direct status=none 2>/run/dd; do
    written=$((written + 4))
    [ $written -lt 512 ] || fail "a pool of 256 MiB took 512 MiB"
done
step "full after $((16 + written)) MiB"
grep -q 'No space left on device' /run/dd || fail "the host was told something else: $(cat /run/dd)"
logged 'critical space allocation error' || fail "the kernel was told something else"
[ $written -gt 100 ] || fail "full too soon"
warned() {
    sg_turs "$dev" || true
    logged 'thin provisioning soft threshold' # 38/07
}
until_true 10 warned

step "reads go on"
dd if="$dev" bs=1M count=16 iflag=direct status=none | cmp - /dev/shm/first

step "what is trimmed can be written again"
blkdiscard -f -o $((16 << 20)) -l $((written << 20)) "$dev"
again() { dd if=/dev/shm/piece of="$dev" bs=1M seek=64 oflag=direct conv=fsync status=none 2>/dev/null; }
until_true 30 again
dd if="$dev" bs=1M skip=64 count=4 iflag=direct status=none | cmp - /dev/shm/piece
dd if="$dev" bs=1M count=16 iflag=direct status=none | cmp - /dev/shm/first
iscsi_logout "$HOST_ADDR:3260"
