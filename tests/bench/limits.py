"""In: a place to work. Out: what this machine can do at most; and commands that may use so much memory and no more."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
import zlib
from pathlib import Path

import inputs
from measure import Failed


# Files that are looked at to measure how many can be.
WALKED = 10_000


class Limits:
    """What programs and libraries of this machine do at most, each by one thread, as a measure of the machine.

    It is measured beside each case: how quick a machine is that others use too changes from minute to minute.
    """

    def __init__(self, work):
        self.place = work / "limits"
        self.place.mkdir()
        self.file, self.text, size = self.place / "file", self.place / "text", 64 << 20
        inputs.large_file(self.file, size)
        self.data = self.file.read_bytes()
        self.text.write_bytes(b"".join(self.data[at : at + (1 << 20)] for at in range(0, size, 2 << 20)))
        inputs.small_files(self.place / "files", WALKED)

    def measured(self):
        """Hashing, compressing, copying and walking, the best of three each.

        What compresses is the library that lapstrake uses, at the level that it uses, on text like that of the cases.
        """
        return {
            "sha256_mib_per_s": rate(lambda: hashlib.sha256(self.data).digest(), len(self.data) / 2**20),
            "libdeflate_5_mib_per_s": rate(self.compress, self.text.stat().st_size / 2**20),
            "zlib_6_mib_per_s": rate(lambda: zlib.compress(self.data[: 2 << 20], 6), 2),
            "copy_mib_per_s": rate(lambda: shutil.copyfile(self.file, self.place / "copy"), len(self.data) / 2**20),
            "walk_files_per_s": rate(self.walk, WALKED),
        }

    def compress(self):
        subprocess.run(["libdeflate-gzip", "-5", "-c", self.text], stdout=subprocess.DEVNULL, check=True)

    def walk(self):
        # Sizes are asked for, so that each file is looked at.
        subprocess.run(["find", self.place / "files", "-size", "+1G"], stdout=subprocess.DEVNULL, check=True)

    def close(self):
        shutil.rmtree(self.place)


def rate(work, size):
    """How much a second of something whose size is told, the best of three."""
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = max(best, size / (time.perf_counter() - started))
    return round(best, 1)


def least_seconds(found, work, pushed):
    """What the work takes at least, and what it takes with a registry on the same machine: each part at the rate of the machine, on all
    cores where it can be shared.

    Every byte of the streams is read, hashed and, where it is text, compressed; every byte of the blobs is hashed and written. The
    registry receives, hashes and writes them once more. SHA-256 of one stream is one thread's work, and no stream can be done before its hash.
    """
    mib = 2**20
    hashing = (work.stream_bytes + work.blob_bytes) / mib / found["sha256_mib_per_s"]
    compressing = work.text_bytes / mib / found["libdeflate_5_mib_per_s"]
    # A copy reads and writes each byte: half of one is to read, half of one to write.
    copying = (work.stream_bytes + work.blob_bytes) / 2 / mib / found["copy_mib_per_s"]
    receiving = work.blob_bytes / mib * (1 / found["sha256_mib_per_s"] + 1 / found["copy_mib_per_s"]) if pushed else 0
    longest = max(work.stream_bytes, work.blob_bytes) / mib / found["sha256_mib_per_s"]
    walking = work.walked_files / found["walk_files_per_s"]
    own = walking + hashing + compressing + copying
    return tuple(max(each / os.cpu_count(), longest) for each in (own, own + receiving))


def beside_gzip(blobs):
    """The bytes of gzip blobs, as a part of what `gzip -6` makes of the same streams."""
    again = [subprocess.Popen(["bash", "-o", "pipefail", "-c", 'gzip -dc "$1" | gzip -6 -n | wc -c', "bash", blob], stdout=subprocess.PIPE) for blob in blobs]
    sizes = [int(each.communicate()[0]) for each in again]
    if any(each.returncode != 0 for each in again):
        raise Failed("a blob is no gzip file")
    return sum(blob.stat().st_size for blob in blobs) / sum(sizes)


GROUP = f"lapstrake-bench-{os.getpid()}"


def forget_groups():
    """Removes the control group that `within` made."""
    for parent in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory"):
        with contextlib.suppress(OSError):
            (Path(parent) / GROUP).rmdir()


def within(size, command):
    """The command in a memory control group of its own, of whichever kind this machine has."""
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        group, limit, extra = Path("/sys/fs/cgroup") / GROUP, "memory.max", [("memory.swap.max", "0")]
        enable = Path("/sys/fs/cgroup/cgroup.subtree_control")
        if "memory" not in enable.read_text().split():
            enable.write_text("+memory")
    elif Path("/sys/fs/cgroup/memory").exists():
        group, limit, extra = Path("/sys/fs/cgroup/memory") / GROUP, "memory.limit_in_bytes", []
    else:
        raise SystemExit("error: case k wants control groups for memory, which this machine does not have")
    group.mkdir(exist_ok=True)
    (group / limit).write_text(str(size))
    for file, value in extra:
        if (group / file).exists():
            (group / file).write_text(value)
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
