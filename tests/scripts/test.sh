#!/usr/bin/env bash
# make test (`full`: installs what is missing) and make check (`check`: changes nothing on the machine).
# What cannot run here is skipped and listed with its reason; ASHLAR_TEST_ALL=1 makes a skip a failure.
# The last line is `N passed, N failed`: the tests that cargo counted, and each other step as one.
. "$(dirname "$0")/common.sh"

case ${1:-} in
full) export ASHLAR_SIM_SEEDS="${ASHLAR_SIM_SEEDS:-500}" ;;
check) export ASHLAR_SIM_SEEDS="${ASHLAR_SIM_SEEDS:-50}" ;;
*) die "usage: test.sh full|check" ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export ASHLAR_SKIPS="$scratch/skips"
: >"$ASHLAR_SKIPS"
passed=0 failed=0 failures=()

# Runs one step: its name, its time, and its tests into the sums.
step() {
    local name=$1 verdict=ok status=0 started=$SECONDS good bad
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" 2>&1 | tee "$scratch/log" || status=1
    read -r good bad < <(
        awk '/^test result: / { good += $4; bad += $6 } END { print good + 0, bad + 0 }' "$scratch/log"
    )
    if [ "$status" -eq 0 ] && [ $((good + bad)) -eq 0 ]; then good=1; fi
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    passed=$((passed + good)) failed=$((failed + bad))
    if [ "$status" -ne 0 ]; then
        verdict=FAILED
        failures+=("$name")
    fi
    printf '== %s: %s, %d s\n' "$name" "$verdict" $((SECONDS - started))
}

skip() { printf '%s: %s\n' "$1" "$2" >>"$ASHLAR_SKIPS"; }

# Format and lints of the packages given.
check_style() {
    local packages=("$@") missing
    missing=" $(missing_components | tr '\n' ' ')"
    if [[ $missing == *" rustfmt "* ]]; then
        skip format "no rustfmt (rustup component add rustfmt)"
    else
        step format cargo fmt --all --check
    fi
    if [[ $missing == *" clippy "* ]]; then
        skip clippy "no clippy (rustup component add clippy)"
    else
        step clippy cargo clippy --quiet "${packages[@]}" --all-targets -- -D warnings
    fi
}

# Everything: each file of a tests directory is a step of its own, so that simulation and kill show their
# time.
test_everything() {
    find_rocksdb
    local packages
    read -ra packages < <(all_packages)
    [[ ${packages[*]} != *--exclude* ]] ||
        skip "an initiator of our own" "no libiscsi-dev (make test installs it)"
    check_style "${packages[@]}"
    step build cargo build --quiet "${packages[@]}" --all-targets
    step units cargo test --quiet --no-fail-fast "${packages[@]}" --lib --bins
    step documentation cargo test --quiet "${packages[@]}" --doc
    local file name ran=' '
    for file in */tests/*.rs */tests/*/main.rs; do
        name=$(basename "${file%/main.rs}" .rs)
        [[ $ran != *" $name "* ]] || continue # two crates have one of this name: both have run
        ran+="$name "
        step "$name" cargo test --quiet --no-fail-fast "${packages[@]}" --test "$name"
    done
}

# What builds without RocksDB: the protocol crates.
test_protocols() {
    local packages=(--package san-iscsi --package nas-nfs)
    check_style "${packages[@]}"
    step units cargo test --quiet --no-fail-fast "${packages[@]}"
}

report() {
    if [ -s "$ASHLAR_SKIPS" ]; then
        printf '\nSkipped here:\n'
        sort -u "$ASHLAR_SKIPS" | sed 's/^/  /'
        if [ "${ASHLAR_TEST_ALL:-}" = 1 ]; then
            failed=$((failed + $(sort -u "$ASHLAR_SKIPS" | wc -l)))
            failures+=("skips, which ASHLAR_TEST_ALL=1 forbids")
        fi
    fi
    [ "${#failures[@]}" -eq 0 ] || printf '\nFailed: %s\n' "$(IFS=';' && say "${failures[*]}")"
    printf '\n%d s in all\n%d passed, %d failed\n' "$SECONDS" "$passed" "$failed"
    [ "${#failures[@]}" -eq 0 ]
}

find_rust
if [ "$1" = full ]; then
    install_needs || say "not everything could be installed; the tests that need it are skipped" >&2
    fetch_guests
fi
missing=$(missing_packages | paste -sd' ')
if [ -z "$missing" ]; then
    test_everything
else
    skip "the storage engine" "missing packages: $missing (make test installs them, as root or by sudo)"
    test_protocols
fi
report
