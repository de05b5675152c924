#!/usr/bin/env bash
# full-index.sh BINARY DIR: a server whose state directory is on a file system of its own that is full but for
# some KiB. Neither making nor opening a pool there may end the server. Run by tests/tests/full_index.rs, as
# root, in a mount namespace of its own: `unshare --mount`.
set -euo pipefail
binary=$1 dir=$2
state=$dir/state
mkdir -p "$state"
export ASHLAR_SOCKET=$state/ashlar.sock
server=
trap '[ -z "$server" ] || kill -9 "$server"' EXIT

fail() {
    printf '%s\n' "$*" >&2
    tail -n 5 "$dir/log" >&2
    exit 1
}
start() {
    "$binary" serve --state-dir "$state" --threads 1 2>>"$dir/log" &
    server=$!
    for _ in $(seq 300); do
        if "$binary" status >/dev/null 2>&1; then return; fi
        kill -0 "$server" 2>/dev/null || fail "the server ended at its start with $left left"
        sleep 0.1
    done
    fail "the server is not ready"
}
stop() {
    kill "$server"
    wait "$server" || fail "the server ended badly with $left left"
    server=
}
# Fills the file system but for $left.
fill() {
    dd if=/dev/zero of="$state/fill" bs=64K 2>/dev/null || true
    truncate -s "-$left" "$state/fill"
}

for left in 8K 16K 24K 32K 48K; do
    mount -t tmpfs -o size=100m none "$state"
    start
    fill
    if "$binary" pool create one --device "$dir/one:64M" 2>"$dir/said"; then
        fail "a pool was made with $left for its index"
    fi
    grep -q 'no space left' "$dir/said" || fail "$left left: $(cat "$dir/said")"
    [ ! -e "$dir/one" ] || fail "the device was left behind"
    rm "$state/fill"
    "$binary" pool create two --device "$dir/two:64M" >/dev/null
    stop
    fill
    start
    "$binary" pool show two | grep -q 'no space left' || fail "a pool is open with $left for its index"
    stop
    rm "$state/fill"
    start
    "$binary" pool show two | grep -q online || fail "the pool did not come back"
    stop
    umount "$state"
    rm "$dir/two"
done
