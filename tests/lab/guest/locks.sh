# shellcheck shell=bash
# Two guests lock one file of the server against each other; the server is killed in between. WHO is a or b,
# DIR a directory that both and the server's side see.
. "$LAB/guest-lib.sh"
: "${WHO:?}" "${DIR:?}" "${NFS_PATH:?}"
locks_up
mkdir -p /mnt/n
mount -t nfs -o vers=3,proto=tcp,retry=0,mountproto=tcp "$HOST_ADDR:$NFS_PATH" /mnt/n
if grep " /mnt/n " /proc/mounts | grep -q nolock; then fail "mounted without locks"; fi
cat >/run/locks.py <<'PY'
import fcntl, os, sys, time

EX, NOW, UN = fcntl.LOCK_EX, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN
share, who = sys.argv[1:]
file = open("/mnt/n/file", "r+b")

def say(what):
    open(os.path.join(share, what), "w").close()

def hear(what):
    end = time.time() + 300
    while not os.path.exists(os.path.join(share, what)):
        assert time.time() < end, "nobody says " + what
        time.sleep(0.05)

def refused(first, length):
    try:
        fcntl.lockf(file, NOW, length, first)
    except OSError:
        return True
    return False

if who == "a":
    fcntl.lockf(file, NOW, 100, 0)
    say("a-has-0")
    hear("b-waits")
    time.sleep(1)
    fcntl.lockf(file, UN, 100, 0)
    hear("b-has-0")
    assert refused(0, 10) and refused(105, 1)
    fcntl.lockf(file, NOW, 10, 50)
    say("kill")
    hear("restarted")
    assert refused(0, 10), "the other's lock was lost with the server"
    assert refused(105, 1), "the other's lock was lost with the server"
    say("a-was-refused")
    hear("b-released")
    fcntl.lockf(file, NOW, 0, 0)
else:
    hear("a-has-0")
    assert refused(50, 10)
    fcntl.lockf(file, NOW, 10, 100)
    say("b-waits")
    start = time.time()
    fcntl.lockf(file, EX, 50, 0)
    waited = time.time() - start
    # A client that is not called asks again after 30 s.
    assert waited < 20, "the grant was not told: %d s" % waited
    say("b-has-0")
    hear("a-was-refused")
    assert refused(55, 1), "the other's lock was lost with the server"
    fcntl.lockf(file, UN, 0, 0)
    say("b-released")
PY
python3 /run/locks.py "$DIR" "$WHO"
umount /mnt/n
step "locks of $WHO: passed"
