#!/usr/bin/env bash
# make demo: installs what the build needs and runs the demonstration. Today that is the storage engine.
. "$(dirname "$0")/common.sh"
find_rust
install_needs || die "the demonstration needs these packages: ${PACKAGES[*]}"
find_rocksdb

say "Ashlar today is its storage engine, as libraries. There is no server yet: nothing is exported over"
say "iSCSI or NFS, and this demonstration does not pretend to."
if ! [ -e tests/examples/demo.rs ]; then
    say "The engine's demonstration (tests/examples/demo.rs) is not written yet; this builds what exists."
    exec cargo build --release --workspace
fi
exec cargo run --quiet --release --package ashlar-tests --example demo
