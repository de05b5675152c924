# shellcheck shell=bash
# What the scripts beside it share: where the repository is, and whether the machine can build it.
# It is sourced, never run. No script here changes the machine but by install_needs.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Debian 12: RocksDB 7.8 to link with, libclang for the bindings to it, a C compiler (docs/decisions/0001).
PACKAGES=(build-essential pkg-config librocksdb-dev libclang-14-dev)
# What single tests and the demonstration need besides: libiscsi's tools and conformance suite, libnfs's
# tools, QEMU's client, what an initiator of our own is linked with; for the lab's guests links, and the
# program that starts them (what runs in guests is never installed).
TOOLS=(libiscsi-bin libiscsi-dev libnfs-utils python3 iproute2 qemu-utils qemu-block-extra)
COMPONENTS=(rustfmt clippy)

say() { printf '%s\n' "$*"; }
die() { printf 'ashlar: %s\n' "$*" >&2; exit 1; }

find_rust() {
    command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin"
    command -v cargo >/dev/null || die "no cargo: install Rust 1.89 or later first (https://rustup.rs)"
}

is_debian_12() {
    [ -r /etc/os-release ] && (
        # shellcheck source=/dev/null
        . /etc/os-release && [ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ]
    )
}

# Prints the packages that are not installed, one a line. Elsewhere than on Debian it asks for what they hold.
missing_packages() {
    if command -v dpkg-query >/dev/null; then
        local package
        for package in "${PACKAGES[@]}"; do
            dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
                say "$package"
        done
    elif ! [ -e "${ROCKSDB_INCLUDE_DIR:-/usr/include}/rocksdb/c.h" ]; then
        printf '%s\n' "${PACKAGES[@]}"
    fi
}

# Prints the tools of single tests that are not installed; nothing where there is no dpkg to ask.
missing_tools() {
    command -v dpkg-query >/dev/null || return 0
    local package
    for package in "${TOOLS[@]}"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || say "$package"
    done
}

# Prints the options that choose all packages: without libiscsi-dev, all that can be linked.
all_packages() {
    if [ -e /usr/include/iscsi/iscsi.h ]; then
        say "--workspace --features ashlar-tests/libiscsi"
    else
        say "--workspace --exclude libiscsi"
    fi
}

missing_components() {
    local component
    for component in "${COMPONENTS[@]}"; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || say "$component"
    done
}

# Installs the missing packages and Rust components, naming them. Fails, with the reason on stderr, where it
# may not: then nothing was changed.
install_needs() {
    local packages components sudo=()
    mapfile -t components < <(missing_components)
    if [ "${#components[@]}" -gt 0 ] && command -v rustup >/dev/null; then
        say "Rust components to install: ${components[*]}"
        rustup component add "${components[@]}" || return 1
    fi
    mapfile -t packages < <(missing_packages; missing_tools)
    [ "${#packages[@]}" -gt 0 ] || return 0
    if ! is_debian_12; then
        say "this is not Debian 12; install by hand: RocksDB 7.8 with headers, libclang, a C compiler" >&2
        return 1
    fi
    say "Debian packages to install: ${packages[*]} (apt may start no service meanwhile)"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { say "not root, and there is no sudo" >&2; return 1; }
        sudo=(sudo)
        # Without a terminal to ask for a password on, sudo must do without one.
        [ -t 0 ] || sudo=(sudo -n)
    fi
    "${sudo[@]}" bash tests/scripts/apt-install.sh "${packages[@]}"
}

# Fetches the guests of the lab, where they can run. Without them, the tests that need them are skipped.
fetch_guests() {
    if [ "$(id -u)" -eq 0 ] && is_debian_12; then
        tests/lab/setup.sh || say "no guests for the lab" >&2
    fi
}

# Points the rocksdb crate to Debian's library on processors other than the one .cargo/config.toml names.
find_rocksdb() {
    local triplet
    triplet=$(gcc -print-multiarch 2>/dev/null || true)
    if [ -n "$triplet" ] && [ -e "/usr/lib/$triplet/librocksdb.so" ]; then
        export ROCKSDB_LIB_DIR="${ROCKSDB_LIB_DIR:-/usr/lib/$triplet}"
    fi
}

# Stops, naming what is missing, unless everything can be built.
need_everything() {
    local packages
    mapfile -t packages < <(missing_packages)
    [ "${#packages[@]}" -eq 0 ] || die "missing packages: ${packages[*]} (make test installs them)"
    find_rocksdb
}
