# shellcheck shell=bash
# A share mounted by the kernel's client, version 3: names, permissions and times as POSIX has them, a tree of
# files compared after a new mount, files written at random places against a model, two clients, a data base.
# Settings: EXPORT, NFS_PORT, MOUNT_PORT.
. "$LAB/guest-lib.sh"
: "${EXPORT:=/memory/share}" "${NFS_PORT:=2049}" "${MOUNT_PORT:=20048}"
modprobe nfsv3

# mounted DIR [OPTION,... [EXPORT]]: mounts the share; the kernel speaks MOUNT by itself.
mounted() {
    local options=vers=3,proto=tcp,port=$NFS_PORT,addr=$HOST_ADDR,nolock,hard
    options=$options,mountproto=tcp,mountport=$MOUNT_PORT,mountaddr=$HOST_ADDR
    mkdir -p "$1"
    mount -i -t nfs -o "$options${2:+,$2}" "$HOST_ADDR:${3:-$EXPORT}" "$1"
}
mounted /mnt/n
grep ' /mnt/n ' /proc/mounts | grep -q 'rsize=1048576,wsize=1048576' || fail "other sizes than the server's"
work=/mnt/n/work
mkdir -m 777 $work
cd $work

step "names"
echo one >a && ln a b && [ "$(stat -c %h a)" = 2 ] && rm a && [ "$(cat b)" = one ]
echo two >c && mv c b && [ "$(cat b)" = two ]
mkdir -p d/e && must_fail rmdir d && must_fail mv d d/e/f && mv d g && rmdir g/e g
ln -s "$(head -c 1000 /dev/zero | tr '\0' x)" s && [ "$(readlink s | wc -c)" = 1001 ]
mkfifo p && mknod n c 1 3 && [ "$(stat -c %t:%T n)" = 1:3 ]
must_fail bash -c 'set -C; echo x >b'
must_fail touch "$(head -c 256 /dev/zero | tr '\0' x)"
touch "$(head -c 255 /dev/zero | tr '\0' x)"
exec 5<>b
rm b
echo three >&5
[ "$(head -c 3 /proc/self/fd/5)" = thr ] || fail "a file that is removed while it is open"
exec 5>&-

step "permissions and times"
as() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }
mkdir -m 1777 tmp && as 1000 touch tmp/mine && must_fail as 2000 rm tmp/mine
must_fail as 2000 chmod 777 tmp/mine
must_fail as 1000 chown 2000 tmp/mine
as 1000 chmod 600 tmp/mine && must_fail as 2000 cat tmp/mine
cp /bin/true tmp/run && chown 1000 tmp/run && chmod 4755 tmp/run
as 2000 tmp/run || fail "it cannot be run"
chmod 4777 tmp/run && as 2000 bash -c 'echo >>tmp/run' && [ "$(stat -c %a tmp/run)" = 777 ]
touch -d '2001-02-03 04:05:06.789012345' tmp/mine
[ "$(stat -c %.Y tmp/mine)" = 981173106.789012345 ] || fail "times in $(stat -c %.Y tmp/mine)"
must_fail as 2000 touch -d 2001-01-01 tmp/mine

step "a tree of 1,000 files"
mkdir /dev/shm/tree
(cd /dev/shm/tree && for d in $(seq 10); do
    mkdir "$d" && for f in $(seq 100); do head -c $((f * 97)) /dev/urandom >"$d/$f"; done
done)
tar -C /dev/shm -cf - tree | tar -xf -
umount -l /mnt/n && cd / && mounted /mnt/n "nconnect=4" && cd $work
diff -r /dev/shm/tree tree
[ "$(find tree -type f | wc -l)" = 1000 ]
rm -r tree && must_fail stat tree

step "random places against a model"
python3 "$LAB/guest/random_file.py" random 1500
mounted /mnt/sync noac,nosharecache
python3 "$LAB/guest/random_file.py" /mnt/sync/work/random-sync 300

step "two clients"
mounted /mnt/other noac,nosharecache
for n in 1 2 3 4 5; do
    echo "$n" >/mnt/sync/work/shared && [ "$(cat /mnt/other/work/shared)" = "$n" ] || fail "not seen: $n"
    mv /mnt/other/work/shared /mnt/other/work/moved && must_fail stat /mnt/sync/work/shared
    [ "$(cat /mnt/sync/work/moved)" = "$n" ] || fail "not seen after the rename: $n"
done

step "a data base"
python3 - <<'DB'
import sqlite3
db = sqlite3.connect("base")
db.execute("create table t (k integer primary key, v text)")
for n in range(50):
    with db:
        db.executemany("insert into t values (?, ?)", [(n * 20 + i, "v" * i) for i in range(20)])
assert db.execute("pragma integrity_check").fetchone() == ("ok",)
assert db.execute("select count(*), sum(length(v)) from t").fetchone() == (1000, 50 * 190)
DB

cd /
for dir in /mnt/n /mnt/sync /mnt/other; do umount $dir; done
must_fail mounted /mnt/none "" "$EXPORT-none"
if dmesg | grep -iE 'nfs.*(error|bad|stale)|rpc.*(error|bad)'; then fail "the kernel complains"; fi
step "passed"
