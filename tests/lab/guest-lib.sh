# shellcheck shell=bash
# What the scripts of guests share:  . "$LAB/guest-lib.sh"
# They fail loudly: the first command that fails ends the script, which names its line.
# Settings: TARGET (its name), SHARE (a directory that the test sees too), HOST_ADDR, HOST_ADDR2.
set -eE -o pipefail
trap 'echo "FAILED: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR
[ -n "${LAB_GUEST:-}" ] || { echo "guest-run runs this: it changes disks and mounts" >&2; exit 2; }

step() { echo "[$(cut -d' ' -f1 /proc/uptime)] $*"; }
fail() {
    echo "FAILED: $*" >&2
    dmesg | tail -n 30 >&2
    exit 1
}
# must_fail CMD...: CMD has to fail.
must_fail() { if "$@" >/dev/null 2>&1; then fail "should have failed: $*"; fi; }
# until_true SECONDS CMD...: waits until CMD succeeds.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "not in time: $*"
        sleep 0.1
    done
}
# logged PATTERN: the kernel has logged it since the last forget.
logged() { dmesg | grep -q -- "$1"; }
forget() { dmesg -C; }

# ---- the other side
# host WORD...: the test does it, prints what came of it, and has its status: `host ashlar volume list`,
# `host server kill`.
host() {
    local id
    id=$SHARE/$(cat /proc/sys/kernel/random/uuid)
    printf '%s\n' "$*" >"$id.new"
    mv "$id.new" "$id.ask"
    until [ -e "$id.done" ]; do sleep 0.05; done
    cat "$id.out"
    return "$(cat "$id.done")"
}
# used VOLUME [KEY]: bytes that it sees, or another of its numbers.
used() { host ashlar volume show "$1" --json | json_number "${2:-referenced}"; }
# json_number KEY: the first number with that key.
json_number() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" | head -n 1; }

# ---- devices
# udev, for multipathd and /dev/disk/by-*; a plain disk needs none of it.
udev_up() {
    local daemon=/lib/systemd/systemd-udevd
    [ -x $daemon ] || daemon=/usr/bin/udevadm
    if [ ${daemon##*/} = udevadm ]; then (exec -a systemd-udevd $daemon --daemon); else $daemon --daemon; fi
    udevadm trigger --subsystem-match=block --action=add
    udevadm settle -t 30
}
iscsi_up() {
    modprobe -a iscsi_tcp sd_mod sg
    iscsid 2>/dev/null
    until_true 10 iscsid_answers
}
# 21: it answers, and has no session.
iscsid_answers() { iscsiadm -m session >/dev/null 2>&1 || [ $? = 21 ]; }
# node ADDRESS WORD...: iscsiadm about the target at a portal.
node() {
    local address=$1
    shift
    iscsiadm -m node -T "$TARGET" -p "$address" "$@"
}
# iscsi_add ADDRESS:PORT [KEY VALUE]...: a record of the portal. Dead sessions are noticed sooner than usual.
iscsi_add() {
    local address=$1
    shift
    node "$address" -o new >/dev/null
    set -- node.startup manual node.session.timeo.replacement_timeout "${REPLACEMENT_TIMEOUT:-20}" \
        node.conn[0].timeo.noop_out_interval 2 node.conn[0].timeo.noop_out_timeout 3 "$@"
    while [ $# -gt 0 ]; do
        node "$address" -o update -n "$1" -v "$2"
        shift 2
    done
}
iscsi_login() { node "$1" --login >/dev/null; }
iscsi_logout() { node "$1" --logout >/dev/null; }
rescan() { iscsiadm -m session --rescan >/dev/null; }
# lun N: the first disk with that LUN, as /dev/sdX; fails if there is none.
lun() {
    local disk
    for disk in /sys/class/scsi_disk/*:"$1"/device/block/*; do
        if [ -e "$disk" ]; then
            echo "/dev/${disk##*/}"
            return
        fi
    done
    return 1
}
has_lun() { lun "$1" >/dev/null; }
# disk N: the same, but waits until it is there.
disk() {
    until_true 20 has_lun "$1"
    lun "$1"
}
# load DEVICE SECONDS: verified random writes by fio in the background, for as long; load_ends waits for them.
load() {
    fio --name=load --filename="$1" --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bsrange=4k-64k \
        --size=64M --time_based --runtime="$2" --verify=crc32c --verify_backlog=64 --verify_fatal=1 \
        --minimal --terse-version=3 >/run/fio 2>&1 &
    LOAD=$! LOADED=${1##*/}
    [ ! -L "$1" ] || LOADED=$(basename "$(readlink "$1")")
}
load_runs() { kill -0 $LOAD 2>/dev/null; }
load_ends() {
    wait $LOAD || fail "fio: $(cat /run/fio)"
    awk -F';' 'NF > 50 { print "fio:", $6 / 1024, "MiB read and verified,", $47 / 1024, "MiB written"; e += $5
        }
        END { exit e != 0 }' /run/fio || fail "fio: $(cat /run/fio)"
    if dmesg | grep "error.* dev $LOADED,"; then fail "I/O failed on $LOADED"; fi
}
# locks_up: what a client of NFSv3 needs to lock: a port mapper and a status monitor of its own.
locks_up() {
    modprobe nfs
    rpcbind -w 2>/dev/null || rpcbind
    mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak
    rpc.statd --no-notify
}
