"""Writes, reads, cuts and reopens a file at random places, and compares it with a model in memory at every step.

Usage: random_file.py FILE STEPS [SEED]
"""
import os
import random
import sys

path, steps = sys.argv[1], int(sys.argv[2])
seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
rng = random.Random(seed)
model = bytearray()
LONGEST = 3 << 20


def place():
    """An offset: anywhere, at the end, or on a block."""
    at = rng.choice([rng.randrange(LONGEST), len(model), rng.randrange(LONGEST) & ~4095])
    return min(at, LONGEST)


def length():
    return rng.choice([1, rng.randrange(1, 200), 4096, rng.randrange(1, 70000), rng.randrange(1, 1500000)])


file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
for step in range(steps):
    what = rng.random()
    if what < 0.45:
        at, data = place(), rng.randbytes(length())[: LONGEST]
        if at > len(model):
            model.extend(bytes(at - len(model)))
        model[at : at + len(data)] = data
        done = 0
        while done < len(data):
            done += os.pwrite(file, data[done:], at + done)
    elif what < 0.80:
        at, count = place(), length()
        read = os.pread(file, count, at)
        assert read == model[at : at + count], f"seed {seed}, step {step}: {count} bytes at {at} differ"
    elif what < 0.90:
        size = rng.randrange(LONGEST)
        os.ftruncate(file, size)
        del model[size:]
        model.extend(bytes(size - len(model)))
    elif what < 0.95:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    else:
        os.close(file)
        file = os.open(path, os.O_RDWR | (os.O_SYNC if rng.random() < 0.3 else 0))
    assert os.fstat(file).st_size == len(model), f"seed {seed}, step {step}: the size differs"
os.close(file)
with open(path, "rb") as whole:
    assert whole.read() == model, f"seed {seed}: the file differs at the end"
