#!/usr/bin/env bash
# make bench-engine: the engine's benchmark, optimized: prints a table, writes bench-results/engine.json.
# Settings: QUICK=1, DIR, ROUNDS, SECS, SIZE (MiB), SNAPSHOTS, ONLY, ROW (docs/performance.md).
. "$(dirname "$0")/common.sh"
find_rust
need_everything
mkdir -p bench-results
export DIR="${DIR:-${CARGO_TARGET_DIR:-target}/bench-data}"
exec cargo run --release --package ashlar-tests --example bench_engine -- bench-results/engine.json
