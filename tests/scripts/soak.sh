#!/usr/bin/env bash
# make soak, soak-kill, soak-san: one test of tests/tests, optimized, for as many rounds as the environment
# says; of a file with many, those that FILTER names.
. "$(dirname "$0")/common.sh"
name=${1:?usage: soak.sh TEST [FILTER]}
shift
find_rust
need_everything
[ -e "tests/tests/$name.rs" ] || [ -e "tests/tests/$name/main.rs" ] || die "there is no test $name"
# The daemon that some of them start: cargo puts it where they look for it.
cargo build --release --package ashlar-cli --bin ashlar
exec cargo test --release --package ashlar-tests --test "$name" -- --nocapture --include-ignored "$@"
