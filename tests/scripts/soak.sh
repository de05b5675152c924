#!/usr/bin/env bash
# make soak, soak-kill: one test of tests/tests, optimized, for as many rounds as the environment says.
. "$(dirname "$0")/common.sh"
name=${1:?usage: soak.sh TEST}
find_rust
need_everything
[ -e "tests/tests/$name.rs" ] || die "tests/tests/$name.rs does not exist yet"
exec cargo test --release --package ashlar-tests --test "$name" -- --nocapture --include-ignored
