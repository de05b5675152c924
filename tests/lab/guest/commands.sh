# shellcheck shell=bash
# What sg3-utils asks of a disk, through a real kernel: pages, reservations over two paths and a restart,
# copies, compare-and-write, unmap.
. "$LAB/guest-lib.sh"
# json_text VOLUME KEY: a text in what the server says of a volume.
json_text() { host ashlar volume show "$1" --json | sed -n "s/.*\"$2\": \"\\(.*\\)\".*/\\1/p" | head -n 1; }
# says PATTERN CMD...: CMD succeeds, and its output has the pattern.
says() {
    local pattern=$1
    shift
    "$@" >/run/said 2>&1 || fail "$*: $(cat /run/said)"
    grep -qiE -- "$pattern" /run/said || fail "$* does not say '$pattern': $(cat /run/said)"
}
# also PATTERN: that output has this one too.
also() { grep -qiE -- "$1" /run/said || fail "not '$1': $(cat /run/said)"; }
# status N CMD...: CMD ends with that status.
status() {
    local want=$1 is=0
    shift
    "$@" >/run/said 2>&1 || is=$?
    [ $is = "$want" ] || fail "$*: status $is, not $want: $(cat /run/said)"
}
# Statuses of sg3-utils.
OUT_OF_RANGE=22 UNIT_ATTENTION=6 MISCOMPARE=14 CONFLICT=24

step "the same disk on two paths"
iscsi_up
paths=()
for portal in "$HOST_ADDR:3260" "$HOST_ADDR2:3261"; do
    iscsi_add "$portal"
    iscsi_login "$portal"
    until_true 20 has_lun 1
done
on() { ls -d "/sys/class/scsi_disk"/*:"$1"/device/block/* 2>/dev/null | sed 's|.*/|/dev/|'; }
two_of() { [ "$(on "$1" | wc -l)" = 2 ]; }
until_true 20 two_of 0
until_true 20 two_of 1
mapfile -t paths < <(on 0)
a=${paths[0]} b=${paths[1]} other=$(on 1 | head -n 1)
for path in "$a" "$b" "$other"; do sg_turs "$path" || sg_turs "$path"; done

step "what it is"
serial=$(json_text fast/disk serial) naa=$(json_text fast/disk naa)
says 'ASHLAR' sg_inq "$a"
for path in "$a" "$b"; do
    says "$serial" sg_vpd -p sn "$path"
    says "0x$naa" sg_vpd -p di "$path"
done
sg_vpd -p di "$a" >/run/di.a
sg_vpd -p di "$b" >/run/di.b
! cmp -s /run/di.a /run/di.b || fail "both paths name the same port"
says 'Supported VPD' sg_vpd "$a"
says 'SIMPSUP' sg_vpd -p ei -l "$a"
says 'Maximum transfer length: 8192' sg_vpd -p bl "$a"
says 'Non-rotating' sg_vpd -p bdc "$a"
says 'LBPU\): 1' sg_vpd -p lbpv "$a"
also 'LBPWS\): 1'
says 'Logical block length=512' sg_readcap -l "$a"
also 'lbpme=1, lbprz=1'
also 'lbppbe=3|per physical block exponent=3'
says 'Lun list length = 16' sg_luns "$a"
says 'Write cache|Caching' sg_modes -p 8 "$a"
says 'Compare and write' sg_opcodes "$a"
also 'Extended copy'
also 'Persistent reserve out, preempt'
says 'Logical unit reset' sg_opcodes -t "$a"
says 'target port group asymmetric access state : 0x00|active/optimized' sg_rtpg -d "$a"
says 'thin|provisioning|Available' sg_logs -p 0xc "$a"
sg_requests "$a" >/dev/null
sg_verify --lba=0 --count=8 "$a"
sg_sync "$a"

step "compare and write"
head -c 512 /dev/zero >/run/old
head -c 512 /dev/urandom >/run/new
cat /run/old /run/new >/run/pair
sg_compare_and_write --in=/run/pair --lba=100 --num=1 --xferlen=1024 "$a"
dd if="$b" bs=512 skip=100 count=1 iflag=direct status=none | cmp - /run/new
status $MISCOMPARE sg_compare_and_write --in=/run/pair --lba=100 --num=1 --xferlen=1024 "$b"

step "unmap, write same, what is mapped"
full() { dd if=/dev/urandom of="$a" bs=1M count=8 oflag=direct status=none; }
full
before=$(used fast/disk)
sg_unmap --force --lba=0 --num=8192 "$a"
freed=$((before - $(used fast/disk)))
[ $freed = $((4 << 20)) ] || fail "sg_unmap gave back $freed bytes"
says 'deallocated' sg_get_lba_status --lba=0 "$a"
dd if="$a" bs=1M count=4 iflag=direct status=none | cmp -n $((4 << 20)) - /dev/zero
sg_write_same --unmap --lba=8192 --num=8192 --xferlen=512 "$a"
[ "$(used fast/disk)" = 0 ] || fail "write same with unmap left $(used fast/disk)"
head -c 512 /dev/urandom >/run/block
sg_write_same --16 --in=/run/block --lba=16 --num=16 "$a"
for n in 0 15; do dd if="$a" bs=512 skip=$((16 + n)) count=1 iflag=direct status=none | cmp - /run/block; done
sg_write_same --16 --ndob --lba=16 --num=16 "$a"
dd if="$a" bs=512 skip=16 count=16 iflag=direct status=none | cmp -n 8192 - /dev/zero
status $OUT_OF_RANGE sg_write_same --16 --in=/run/block --lba=131064 --num=16 "$a"

step "extended copy: a clone by reference"
full
sg_of() { ls -d "/sys/block/${1##*/}/device/scsi_generic/"* | sed 's|.*/|/dev/|'; }
taken() { host ashlar pool show fast --json | json_number used; }
before=$(taken)
says '16384' sg_xcopy if="$(sg_of "$a")" of="$(sg_of "$other")" bs=512 count=16384
dd if="$a" of=/run/first bs=1M count=8 iflag=direct status=none
dd if="$other" bs=1M count=8 iflag=direct status=none | cmp - /run/first
[ "$(used fast/other)" = $((8 << 20)) ] || fail "the copy sees $(used fast/other)"
[ $(($(taken) - before)) -lt $((1 << 20)) ] || fail "the copy took $(($(taken) - before)) bytes"
rm /run/first

step "persistent reservations: register, reserve, preempt"
pr() { sg_persist -n "$@" >/run/said 2>&1; }
keys() { sg_persist -n -i -k "$1"; }
pr -o -G -S 0xa -Z "$a"
pr -o -G -S 0xb -Z "$b"
pr -o -R -K 0xa -T 5 "$a"
says 'Key=0xa' sg_persist -n -i -r "$b"
also 'Registrants Only'
status $CONFLICT sg_persist -n -o -R -K 0xb -T 5 "$b"
dd if=/dev/zero of="$b" bs=4k count=1 oflag=direct status=none # it is registered
pr -o -P -K 0xb -S 0xa -T 5 "$b"
says 'Key=0xb' sg_persist -n -i -r "$b"
! keys "$b" | grep -q 0xa || fail "the preempted key is still there"
forget
status $UNIT_ATTENTION sg_turs "$a" # 2A/05: registrations preempted
also 'preempted'
must_fail dd if=/dev/zero of="$a" bs=4k count=1 oflag=direct
dd if="$a" of=/dev/null bs=4k count=1 iflag=direct status=none

step "and over a restart: APTPL"
host server kill
host server start
back() { dd if="$b" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null; }
until_true 30 back
says 'Key=0xb' sg_persist -n -i -r "$b"
says '0xb' sg_persist -n -i -k "$b"
must_fail dd if=/dev/zero of="$a" bs=4k count=1 oflag=direct
dd if=/dev/zero of="$b" bs=4k count=1 oflag=direct status=none
says 'PTPL_A=1|Persist Through Power Loss Active' sg_persist -n -i -c "$b"
pr -o -C -K 0xb "$b"
says 'NO|no' keys "$b"
dd if=/dev/zero of="$a" bs=4k count=1 oflag=direct status=none

step "resets"
sg_reset --device "$a"
status $UNIT_ATTENTION sg_turs "$b"
status 0 sg_turs "$b"
iscsiadm -m node --logoutall=all >/dev/null
