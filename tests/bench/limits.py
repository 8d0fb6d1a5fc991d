"""In: a place to work. Out: what this machine can do at most; and commands that may use so much memory and no more."""

import contextlib
import hashlib
import os
import shutil
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
    """Hashing, compressing, copying and walking, each by one thread: libraries of this machine, not ours, as a measure of the machine."""
    place = work / "limits"
    place.mkdir()
    file, size = place / "file", 64 << 20
    inputs.large_file(file, size)
    data = file.read_bytes()
    inputs.small_files(place / "files", 3000)
    found = {
        "sha256_mib_per_s": rate(lambda: hashlib.sha256(data).digest(), size),
        "zlib_6_mib_per_s": rate(lambda: zlib.compress(data[: 8 << 20], 6), 8 << 20),
        "copy_mib_per_s": rate(lambda: shutil.copyfile(file, place / "copy"), size),
    }
    started = time.perf_counter()
    count = sum(len([os.lstat(os.path.join(at, name)) for name in files]) for at, _, files in os.walk(place / "files"))
    found["walk_files_per_s"] = round(count / (time.perf_counter() - started))
    shutil.rmtree(place)
    return found


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
