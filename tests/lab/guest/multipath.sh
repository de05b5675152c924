# shellcheck shell=bash
# Two portals under dm-multipath and verified load: each link dies and comes back, then the server dies and
# comes back. No I/O fails.
. "$LAB/guest-lib.sh"
portals=("$HOST_ADDR:3260" "$HOST_ADDR2:3261")

step "two sessions, one map"
iscsi_up
udev_up
modprobe -a dm-multipath dm-round-robin dm-service-time
cat >/etc/multipath.conf <<'C'
defaults {
    user_friendly_names yes
    find_multipaths no
    no_path_retry 60
    polling_interval 2
    failback immediate
}
C
multipathd -d -v2 >/run/multipathd.log 2>&1 &
for portal in "${portals[@]}"; do
    iscsi_add "$portal" node.session.timeo.replacement_timeout 5
    iscsi_login "$portal"
done
paths() { multipathd show paths format '%d %t %o' 2>/dev/null | grep -c 'active running'; }
paths_are() { [ "$(paths)" = "$1" ]; }
until_true 60 paths_are 2
name=$(multipathd show maps raw format '%n' | head -n 1)
udevadm settle -t 20
dev=/dev/mapper/$name
[ -b "$dev" ] || fail "no $dev"
multipathd show topology
# What the paths say of themselves: one device, two relative ports, one group.
naa=$(host ashlar volume show fast/paths --json | sed -n 's/.*"naa": "\(.*\)".*/\1/p')
multipathd show maps raw format '%w' | grep -qi "3$naa" || fail "the map is not $naa"

load "$dev" 50
sleep 2
for link in 1 0; do
    ip link set vec$link down
    until_true 60 paths_are 1
    step "one path left, the load goes on"
    load_runs || fail "the load ended"
    ip link set vec$link up
    until_true 60 paths_are 2
    step "two paths again"
done
host server kill
host server start
until_true 60 paths_are 2
step "two paths after a kill of the server"
load_ends
# Not `multipath -F` alone: the daemon would make the map again.
multipathd shutdown >/dev/null
