#!/usr/bin/env bash
# make demo: installs what is missing, builds, and shows the server at work: a pool in a file, a volume, a
# snapshot, a clone, a LUN for one initiator only, QEMU's own iSCSI client reading and writing it; and a share
# over NFS, with a snapshot and an instant clone of a file, read by libnfs.
. "$(dirname "$0")/common.sh"
find_rust
install_needs || die "the demonstration needs these packages: ${PACKAGES[*]} ${TOOLS[*]}"
find_rocksdb

say "Building (the first time takes some minutes) ..."
cargo build --quiet --release --package ashlar-cli
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
PATH="$target/release:$PATH"

dir=$(mktemp -d "${TMPDIR:-/tmp}/ashlar-demo.XXXXXX")
server=
finish() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" || true; fi
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Shows a command and runs it.
show() { printf '\n$ %s\n' "$*"; "$@"; }

# Prints the first port from $1 on that nobody listens on.
free_port() {
    local port=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    printf '%s' "$port"
}
port=$(free_port 33260)
nfs=$(free_port 32049)

export ASHLAR_SOCKET=$dir/state/ashlar.sock
serve=(ashlar serve --state-dir "$dir/state" --iscsi-listen "127.0.0.1:$port" --nfs-listen "127.0.0.1:$nfs")
printf '\n$ %s &\n' "${serve[*]}"
"${serve[@]}" 2>"$dir/log" &
server=$!
deadline=$((SECONDS + 30))
until [ -S "$ASHLAR_SOCKET" ]; do
    if ! kill -0 "$server" 2>/dev/null || [ "$SECONDS" -gt "$deadline" ]; then
        cat "$dir/log" >&2
        die "the server did not start"
    fi
    sleep 0.05
done

host=iqn.2026-11.io.ashlar:demo-host
show ashlar pool create demo --device "$dir/disk:2G"
show ashlar volume create demo/vm1 --size 20G
show ashlar host create hypervisor --iqn $host --network 127.0.0.0/8
show ashlar lun map demo/vm1 --host hypervisor
iqn=$(ashlar status --json | sed -n 's/.*"target": "\(.*\)".*/\1/p')

say
say "The initiator that was named finds its disk; another one finds nothing, as though there were none:"
show iscsi-ls -i $host -s "iscsi://127.0.0.1:$port"
show iscsi-ls -i iqn.2026-11.io.ashlar:stranger -s "iscsi://127.0.0.1:$port" || true

# QEMU's options for LUN $1, each with $2 before it.
drive() {
    printf "$2%s," driver=iscsi transport=tcp "portal=127.0.0.1:$port" "target=$iqn" "lun=$1"
    printf "$2%s" "initiator-name=$host"
}
# Runs qemu-io on LUN $1.
io() {
    local lun=$1
    shift
    show qemu-io --image-opts "driver=raw,$(drive "$lun" file.)" "$@"
}
say
say "QEMU writes 64 MiB; then a snapshot, other data, and a clone of the snapshot:"
io 0 -c "write -P 0x11 0 32M" -c "write -P 0x11 32M 32M" -c flush
show ashlar snapshot create demo/vm1@first
io 0 -c "write -P 0x22 0 32M" -c flush
show ashlar clone demo/vm1@first demo/vm2
show ashlar lun map demo/vm2 --host hypervisor

# The URL of a path of the share, for libnfs, as root.
url() {
    printf 'nfs://127.0.0.1/demo/images/%s?version=3&nfsport=%s&mountport=%s&uid=0&gid=0' "$1" "$nfs" "$nfs"
}
say
say "A share on the same pool; a file goes there by NFS, and is cloned at once, without a copy:"
show ashlar share create demo/images
show ashlar export add demo/images --client 127.0.0.0/8 --squash none
head -c 32M /dev/urandom >"$dir/image"
show nfs-cp "$dir/image" "$(url vm1.img)"
show ashlar snapshot create demo/images@first
show ashlar file clone demo/images/vm1.img demo/images/vm2.img
show nfs-ls "$(url '')"

say
say "kill -9 of the server, and a new start: what was acknowledged is there, the clone is what vm1 was then."
kill -9 "$server"
wait "$server" 2>/dev/null || true
"${serve[@]}" 2>>"$dir/log" &
server=$!
until ashlar status >/dev/null 2>&1; do sleep 0.05; done
io 0 -c "read -P 0x22 0 32M"
io 1 -c "read -P 0x11 0 32M"
show nfs-cp "$(url .snapshots/first/vm1.img)" "$dir/image.first"
show cmp "$dir/image" "$dir/image.first"
show nfs-cp "$(url vm2.img)" "$dir/image.clone"
show cmp "$dir/image" "$dir/image.clone"
show ashlar volume list
show ashlar share list
show ashlar status

say
say "To attach a hypervisor, give it a host entry (--iqn, --network, CHAP) and a listener it can reach, then:"
say "  Linux, Proxmox   iscsiadm -m discovery -t sendtargets -p ADDRESS:PORT && iscsiadm -m node --login"
say "  QEMU             -drive $(drive 0 ""),if=virtio"
say "  ESXi             esxcli iscsi adapter discovery sendtarget add -A vmhba64 -a ADDRESS:PORT"
say "  Windows          New-IscsiTargetPortal -TargetPortalAddress ADDRESS"
say "                   Connect-IscsiTarget -NodeAddress $iqn"
say "To mount the share, give it an export for the client's network and a listener it can reach, then:"
say "  Linux, Proxmox   mount -t nfs -o vers=3,nolock,port=PORT,mountport=PORT ADDRESS:/demo/images /mnt"
if [ -t 0 ]; then
    say
    read -r -p "The server runs on 127.0.0.1:$port until you press Enter. " _ || true
fi
