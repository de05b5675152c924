# shellcheck shell=bash
# What initiators negotiate: with each set of keys, large and small writes are read back as they were.
. "$LAB/guest-lib.sh"
portal=$HOST_ADDR:3260
iscsi_up
# A pattern no two blocks of which are alike, and pieces of many lengths, the longest of 4 MiB.
head -c 12M /dev/urandom >/dev/shm/data
# negotiated KEY VALUE...: logs in with these keys of node.session.iscsi and node.conn[0].iscsi, and writes.
negotiated() {
    local all=() dev at=0 n
    step "$*"
    while [ $# -gt 0 ]; do
        case $1 in
        *Digest | MaxRecv* | MaxXmit*) all+=("node.conn[0].iscsi.$1" "$2") ;;
        *) all+=("node.session.iscsi.$1" "$2") ;;
        esac
        shift 2
    done
    node "$portal" -o delete >/dev/null 2>&1 || true
    iscsi_add "$portal" "${all[@]}"
    iscsi_login "$portal"
    dev=$(disk 0)
    echo 4096 >"/sys/block/${dev##*/}/queue/max_sectors_kb"
    dd if=/dev/shm/data of="$dev" bs=4M oflag=direct status=none
    for n in 1 7 8 9 128 129 513 2047; do # blocks of 512 bytes, most of them not on a border of 4 KiB
        dd if=/dev/shm/data of="$dev" bs=$((n * 512)) skip=$at seek=$at count=1 iflag=skip_bytes \
            oflag=seek_bytes,direct status=none
        at=$((at + n * 512))
    done
    sync "$dev"
    dd if="$dev" bs=4M count=3 iflag=direct status=none | cmp - /dev/shm/data
    blkdiscard -f "$dev"
    iscsi_logout "$portal"
}
negotiated HeaderDigest CRC32C DataDigest CRC32C
negotiated ImmediateData No InitialR2T No
negotiated ImmediateData No InitialR2T Yes
negotiated ImmediateData Yes InitialR2T Yes MaxBurstLength 262144
negotiated ImmediateData Yes InitialR2T No FirstBurstLength 4096 MaxBurstLength 8192
negotiated MaxRecvDataSegmentLength 4096 DataDigest CRC32C
negotiated FirstBurstLength 16776192 MaxBurstLength 16776192 MaxOutstandingR2T 16
