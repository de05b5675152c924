#!/usr/bin/env bash
# make bench-san: the iSCSI target against Debian's tgt: prints a table, writes bench-results/san.json.
# Settings: QUICK=1, DIR, KEEP=1, ROUNDS, SECS, SIZE (MiB), LUNS, SNAPSHOTS, ONLY (docs/performance.md).
# tgt is not installed: where it is missing its packages are unpacked into a cache.
. "$(dirname "$0")/common.sh"
find_rust
need_everything
[ -e /usr/include/iscsi/iscsi.h ] || die "missing package: libiscsi-dev (make test installs it)"

# Sets TGTD and TGTADM.
find_tgt() {
    TGTD=/usr/sbin/tgtd TGTADM=/usr/sbin/tgtadm
    if ! [ -x "$TGTD" ]; then
        local cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/ashlar-bench/tgt package
        if ! [ -x "$cache/usr/sbin/tgtd" ]; then
            mkdir -p "$cache/packages"
            (cd "$cache/packages" && apt-get -q download tgt libaio1 libibverbs1 librdmacm1 libnl-3-200 \
                libnl-route-3-200) || die "tgt cannot be had: install the Debian package by hand"
            for package in "$cache"/packages/*.deb; do dpkg-deb -x "$package" "$cache"; done
        fi
        TGTD=$cache/usr/sbin/tgtd TGTADM=$cache/usr/sbin/tgtadm
        local libraries
        libraries=$(find "$cache" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
        export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    fi
    export TGTD TGTADM
}

find_tgt
mkdir -p bench-results
target=${CARGO_TARGET_DIR:-target}
export DIR="${DIR:-$target/bench-data}"
cargo build --release --package ashlar-cli
cargo build --release --package san-iscsi --example memory_target
cargo build --release --package ashlar-tests --features libiscsi --example bench_san
exec "$target/release/examples/bench_san" bench-results/san.json
