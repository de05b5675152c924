# shellcheck shell=bash
# Discovery and login with CHAP, one way and mutual, digests on; then ext4 and xfs: made, filled, trimmed,
# checked, and read again by a new session.
. "$LAB/guest-lib.sh"
portal=$HOST_ADDR:3260
authentication=(authmethod CHAP username guest password a-secret-of-ours)
both_ways=(username_in server password_in a-secret-of-theirs)

# settings PREFIX KEY VALUE...: the keys with the prefix before them.
settings() {
    local prefix=$1
    shift
    while [ $# -gt 0 ]; do
        printf '%s\n%s\n' "$prefix.$1" "$2"
        shift 2
    done
}
# discover KEY VALUE...: SendTargets with these settings for CHAP.
discover() {
    local db=(iscsiadm -m discoverydb -t sendtargets -p "$portal") key
    "${db[@]}" -o new >/dev/null
    while [ $# -gt 0 ]; do
        "${db[@]}" -o update -n "discovery.sendtargets.auth.$1" -v "$2"
        shift 2
    done
    "${db[@]}" --discover
}
# log_in KEY VALUE...: a session with digests and these settings for CHAP.
log_in() {
    local all
    mapfile -t all < <(settings node.session.auth "$@")
    node "$portal" -o delete >/dev/null 2>&1 || true
    iscsi_add "$portal" node.conn[0].iscsi.HeaderDigest CRC32C node.conn[0].iscsi.DataDigest CRC32C \
        "${all[@]}"
    iscsi_login "$portal"
}

step "a host that proves itself, and asks the server to"
echo a-secret-of-ours >"$SHARE/ours"
echo a-secret-of-theirs >"$SHARE/theirs"
host ashlar host create guest --iqn "$INITIATOR_NAME" --chap-user guest --chap-secret-file "$SHARE/ours" \
    --mutual-user server --mutual-secret-file "$SHARE/theirs"
host ashlar volume create fast/files --size 1G
host ashlar lun map fast/files --host guest

step "discovery and login, with right and wrong secrets"
iscsi_up
must_fail discover authmethod None
must_fail discover authmethod CHAP username guest password another-secret
discover "${authentication[@]}" | tee /run/found
grep -q "^$portal,1 $TARGET\$" /run/found || fail "SendTargets says something else"
must_fail log_in
must_fail log_in authmethod CHAP username guest password another-secret
must_fail log_in "${authentication[@]}" username_in server password_in another-secret
log_in "${authentication[@]}"
iscsi_logout "$portal"
log_in "${authentication[@]}" "${both_ways[@]}"
iscsiadm -m session -P 2 | grep -E 'Digest|chap' | tee /run/session
[ "$(grep -c 'Digest: CRC32C' /run/session)" = 2 ] || fail "no digests"

# fill DIR: files, directories, holes.
fill() {
    head -c 48M /dev/urandom >"$1/big"
    mkdir "$1/d"
    for i in $(seq 50); do echo "$i" >"$1/d/$i"; done
    mv "$1/d/1" "$1/d/one"
    rm "$1/d/2"
    sync
    fallocate -p -o 1M -l 1M "$1/big"
}
# trimmed: what was deleted, 64 MiB, has been given back.
trimmed() {
    sync
    fstrim /mnt/a
    [ $((full - $(used fast/files))) -ge $((60 << 20)) ]
}
sums() { (cd "$1" && find . -type f | sort | xargs sha256sum); }
mkdir /mnt/a
for kind in ext4 xfs; do
    step "$kind"
    dev=$(disk 0)
    case $kind in
    ext4) mkfs.ext4 -q -F "$dev" ;;
    xfs) mkfs.xfs -q -f "$dev" ;;
    esac
    mount -t $kind "$dev" /mnt/a
    fill /mnt/a
    sums /mnt/a >/run/sums
    head -c 64M /dev/urandom >/mnt/a/gone
    sync
    full=$(used fast/files)
    rm /mnt/a/gone
    until_true 30 trimmed # xfs frees what was deleted by and by
    umount /mnt/a
    step "$full bytes in use, $(used fast/files) after fstrim"
    case $kind in
    ext4) e2fsck -fn "$dev" ;;
    xfs) xfs_repair -n "$dev" ;;
    esac >/run/check 2>&1 || fail "$(cat /run/check)"
    # A new session sees the same.
    iscsi_logout "$portal"
    iscsi_login "$portal"
    dev=$(disk 0)
    mount -t $kind "$dev" /mnt/a
    (cd /mnt/a && sha256sum --quiet -c /run/sums)
    umount /mnt/a
    blkdiscard -f "$dev"
    [ "$(used fast/files)" -lt $((1 << 20)) ] || fail "$(used fast/files) bytes in use after blkdiscard"
done
iscsi_logout "$portal"
