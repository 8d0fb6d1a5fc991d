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


def rate(work, size):
    """MiB per second of a function, the best of three."""
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        work()
        best = max(best, size / 2**20 / (time.perf_counter() - started))
    return round(best, 1)


def measured(work):
    """Hashing, compressing, copying and walking, each by one thread: programs and libraries of this machine, as a measure of the machine.

    What compresses is the library that lapstrake uses, at the level that it uses, on text like that of the cases.
    """
    place = work / "limits"
    place.mkdir()
    file, size = place / "file", 64 << 20
    inputs.large_file(file, size)
    data = file.read_bytes()
    text = place / "text"
    text.write_bytes(b"".join(data[at : at + (1 << 20)] for at in range(0, size, 2 << 20)))
    inputs.small_files(place / "files", 3000)
    found = {
        "sha256_mib_per_s": rate(lambda: hashlib.sha256(data).digest(), size),
        "libdeflate_5_mib_per_s": rate(lambda: subprocess.run(["libdeflate-gzip", "-5", "-c", text], stdout=subprocess.DEVNULL, check=True), text.stat().st_size),
        "zlib_6_mib_per_s": rate(lambda: zlib.compress(data[: 8 << 20], 6), 8 << 20),
        "copy_mib_per_s": rate(lambda: shutil.copyfile(file, place / "copy"), size),
    }
    started = time.perf_counter()
    count = sum(len([os.lstat(os.path.join(at, name)) for name in files]) for at, _, files in os.walk(place / "files"))
    found["walk_files_per_s"] = round(count / (time.perf_counter() - started))
    shutil.rmtree(place)
    return found


def least_seconds(found, work):
    """What the work takes at least: each part at the rate of the machine, on all cores where it can be shared.

    SHA-256 of one stream is one thread's work, and no stream can be done before its hash.
    """
    mib = 2**20
    hashing = (work.stream_bytes + work.blob_bytes) / mib / found["sha256_mib_per_s"]
    compressing = work.text_bytes / mib / found["libdeflate_5_mib_per_s"]
    longest = max(work.stream_bytes, work.blob_bytes) / mib / found["sha256_mib_per_s"]
    return work.walked_files / found["walk_files_per_s"] + max((hashing + compressing) / os.cpu_count(), longest)


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
