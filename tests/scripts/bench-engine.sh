#!/usr/bin/env bash
# make bench-engine: the engine's benchmark, optimized: prints a table, writes bench-results/engine.json.
. "$(dirname "$0")/common.sh"
find_rust
need_everything
[ -e tests/examples/bench_engine.rs ] || die "tests/examples/bench_engine.rs does not exist yet"
mkdir -p bench-results
exec cargo run --release --package ashlar-tests --example bench_engine -- bench-results/engine.json
