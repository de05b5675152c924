#!/usr/bin/env bash
# Fetches what the lab's guests and QEMU's machines need, with apt, and unpacks it in a cache: kernels,
# initiator, multipath tools, fio. Nothing of it is installed, no service appears, apt's sources stay as they
# are. Safe to repeat: what is there stays. Root, for apt's list of packages.
set -euo pipefail
CACHE=${XDG_CACHE_HOME:-${HOME:?}/.cache}/ashlar-lab
# In the guests: an initiator, file systems, multipath, load, SCSI commands, NFS with locks.
GUEST=(busybox-static kmod iproute2 util-linux udev procps open-iscsi multipath-tools dmsetup sg3-utils
    e2fsprogs xfsprogs fio patchelf nfs-common rpcbind)
# A machine that boots from a LUN: QEMU, a boot loader, tools for its disk.
MACHINE=(qemu-system-x86 qemu-system-common qemu-system-data qemu-block-extra seabios
    syslinux syslinux-common mtools dosfstools cpio)
# Its kernel: the package is named by the newest of these.
MACHINE_KERNEL=linux-image-cloud-amd64
export DEBIAN_FRONTEND=noninteractive

say() { printf 'lab: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

apt=(apt-get -q -o DPkg::Lock::Timeout=300 -o APT::Sandbox::User=root)

# fetch DIR PACKAGE...: the packages' files, whether or not they are installed.
fetch() {
    local dir=$1
    shift
    (cd "$dir" && "${apt[@]}" download "$@") >>"$scratch/log" 2>&1 ||
        { tail -n 5 "$scratch/log" >&2; die "cannot fetch $*"; }
}

# unpack DIR: the packages there, as one tree in which /bin is /usr/bin, as in an installed system.
unpack() {
    local dir=$1 package
    mkdir -p "$dir/tree/usr"/{bin,sbin,lib,lib64}
    for package in bin sbin lib lib64; do ln -s "usr/$package" "$dir/tree/$package"; done
    for package in "$dir"/*.deb "$dir"/needed/*.deb; do
        if [ -e "$package" ]; then
            dpkg-deb --fsys-tarfile "$package" |
                tar -x -C "$dir/tree" --keep-directory-symlink --no-same-owner
        fi
    done
}

# The tools, and of the libraries that they need those that this system lacks.
tools() {
    local wanted="${GUEST[*]} ${MACHINE[*]}" dir=$scratch/tools
    if [ "$(cat "$CACHE/tools/.packages" 2>/dev/null)" = "$wanted" ]; then return; fi
    say "unpacking tools into $CACHE: $wanted"
    mkdir -p "$dir/needed/partial"
    "${apt[@]}" update >>"$scratch/log" 2>&1 || { tail -n 5 "$scratch/log" >&2; die "apt-get update failed"; }
    "${apt[@]}" -y --no-install-recommends --download-only -o Dir::Cache::archives="$dir/needed" \
        install "${GUEST[@]}" "${MACHINE[@]}" >>"$scratch/log" 2>&1 ||
        { tail -n 5 "$scratch/log" >&2; die "apt-get cannot find what the tools need"; }
    fetch "$dir" "${GUEST[@]}" "${MACHINE[@]}"
    unpack "$dir"
    rm -rf "$dir/tree/usr/share"/{doc,man,locale,info,icons,applications,perl5}
    printf '%s\n' "$wanted" >"$dir/tree/.packages"
    rm -rf "$CACHE/tools"
    mv "$dir/tree" "$CACHE/tools"
}

# apt for one Debian release, with a configuration of its own.
apt_for() {
    local release=$1 dir=$scratch/apt-$1 mirror
    shift
    mkdir -p "$dir/lists/partial" "$dir/archives/partial"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | head -n 1)
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
        "$mirror" "$release" >"$dir/sources.list"
    "${apt[@]}" -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir" -o Dir::Cache::archives="$dir/archives" \
        -o Acquire::Languages=none -o Acquire::Retries=2 \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false "$@"
}

# The User Mode Linux kernel of one release, bound to the libc of that release.
guest_kernel() {
    local release=$1 dir=$scratch/$1 home=$CACHE/uml/$1 patch=$CACHE/tools/usr/bin/patchelf
    mkdir -p "$dir" "$CACHE/uml"
    (cd "$dir" && apt_for "$release" update &&
        apt_for "$release" download "user-mode-linux/$release" "libc6/$release") >"$dir/log" 2>&1 ||
        { say "no kernel of $release: $(grep -m1 '^E:' "$dir/log")"; return 1; }
    unpack "$dir"
    mkdir "$dir/home"
    cp -a "$dir/tree/usr/lib/x86_64-linux-gnu" "$dir/home/libc"
    rm -rf "$dir/home/libc/gconv" "$home"
    mv "$dir/tree/usr/lib/uml/modules" "$dir/tree/usr/bin/linux.uml" "$dir/home/"
    "$patch" --set-interpreter "$home/libc/ld-linux-x86-64.so.2" --set-rpath "$home/libc" \
        "$dir/home/linux.uml"
    mv "$dir/home" "$home"
    say "kernel $("$home/linux.uml" --version) of $release"
}

# The newest kernel is the fastest guest by far; an older one will do.
guest_kernels() {
    local release
    for release in forky trixie bookworm; do
        if [ -x "$CACHE/uml/$release/linux.uml" ]; then return; fi
    done
    for release in forky trixie bookworm; do
        if guest_kernel "$release"; then return; fi
    done
    die "no kernel for guests"
}

# kmod NAME ARGS...: one of the many tools that the unpacked kmod is.
kmod() (
    export LD_LIBRARY_PATH=$CACHE/tools/usr/lib/x86_64-linux-gnu
    exec -a "$1" "$CACHE/tools/bin/kmod" "${@:2}"
)

# The kernel of a machine in QEMU, and the modules that find its disk, in the order of their loading.
machine_kernel() {
    local dir=$scratch/machine home=$CACHE/machine image version n=10 module
    if [ -e "$home/vmlinuz" ]; then return; fi
    mkdir -p "$dir/home/modules"
    image=$(apt-cache depends $MACHINE_KERNEL | awk '/Depends: linux-image/ { print $2; exit }')
    fetch "$dir" "${image:?no $MACHINE_KERNEL}"
    unpack "$dir"
    version=$(ls "$dir/tree/usr/lib/modules")
    mv "$dir/tree/boot/vmlinuz-$version" "$dir/home/vmlinuz"
    kmod depmod -b "$dir/tree" "$version"
    for module in virtio_pci virtio_blk; do
        kmod modprobe -d "$dir/tree" -S "$version" --show-depends $module
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$dir/modules"
    while read -r module; do
        n=$((n + 1))
        cp "$module" "$dir/home/modules/$n-${module##*/}"
    done <"$dir/modules"
    mv "$dir/home" "$home"
    say "kernel $version for machines in QEMU"
}

[ "$(id -u)" -eq 0 ] || die "root is needed"
[ "$(dpkg --print-architecture)" = amd64 ] || die "guests run on x86-64 only"
mkdir -p "$CACHE"
exec 9>"$CACHE/.lock"
flock 9
scratch=$(mktemp -d "$CACHE/unpacking.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
tools
guest_kernels
machine_kernel
