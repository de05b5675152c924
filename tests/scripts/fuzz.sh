#!/usr/bin/env bash
# make fuzz: every fuzz target for SECS seconds, starting from its corpus; a finding ends it with an error.
# New inputs stay beside the build output; what is worth keeping goes into fuzz/corpus by hand.
. "$(dirname "$0")/common.sh"
seconds=${1:?usage: fuzz.sh SECONDS}
case $seconds in '' | *[!0-9]*) die "SECS is a number of seconds, not $seconds" ;; esac
find_rust
need_everything

tools=${XDG_CACHE_HOME:-${HOME:?}/.cache}/ashlar-tools
PATH=$tools/bin:$PATH
if ! command -v cargo-fuzz >/dev/null; then
    say "Installing cargo-fuzz into $tools (cargo, no root)."
    cargo install --quiet --locked --root "$tools" cargo-fuzz || die "cargo-fuzz could not be installed"
fi

# The workspace's lock file is the start of the fuzzers' own, so that both build the same versions.
output=${CARGO_TARGET_DIR:-target}/fuzz
unset CARGO_TARGET_DIR
cp Cargo.lock fuzz/Cargo.lock
for source in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$source" .rs)
    mkdir -p "$output/corpus/$target"
    printf '\n== fuzz %s, %s s\n' "$target" "$seconds"
    # No sanitizer: the decoders are safe Rust, and so a stable compiler will do.
    cargo fuzz run --sanitizer none --target-dir "$output" "$target" \
        "$output/corpus/$target" "fuzz/corpus/$target" \
        -- -max_total_time="$seconds" -max_len=65536 -print_final_stats=1
done
