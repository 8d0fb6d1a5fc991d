"""In: a command. Out: how long it took and how much memory its processes had at most."""

import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


class Failed(Exception):
    """A command that was to be measured failed."""


@dataclass
class Measurement:
    """What one run of one case cost."""

    seconds: float = 0.0
    # Of the builder's own process, or the daemon's; not of the commands that it runs.
    peak_kib: int = 0
    # How much larger the builder's store and the registry's storage have become.
    stored_bytes: int = 0
    sent_bytes: int = 0
    # Of the time, that in which no command of the build ran; `None` where the commands do not say when they do.
    beyond_seconds: float | None = None
    # What it made, where the builder says it.
    digest: str = ""
    blobs: list = field(default_factory=list)


def peak_kib(pid):
    """The highest resident size that a process ever had; 0 where it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def forget_peak(pid):
    """From here on the peak is counted anew (proc(5), clear_refs)."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        pass


def children(pid):
    """The processes below one, with it."""
    found, queue = [], [pid]
    while queue:
        each = queue.pop()
        found.append(each)
        try:
            for task in os.listdir(f"/proc/{each}/task"):
                queue += [int(child) for child in Path(f"/proc/{each}/task/{task}/children").read_text().split()]
        except OSError:
            pass
    return found


def during(said):
    """The seconds in which at least one command ran, of which a log tells when it began and ended; `None` where it tells nothing."""
    changes = sorted((float(at), 1 if what == b"began" else -1) for what, at in re.findall(rb"command (began|ended) (\d+\.\d+)", said))
    total, running = 0.0, 0
    for (at, change), (after, _) in zip(changes, changes[1:]):
        running += change
        total += after - at if running > 0 else 0
    return total if changes else None


def timed(commands, environment, cwd, log, daemons=()):
    """Runs commands one after another. Their own peak is watched at short intervals: VmHWM only grows."""
    for daemon in daemons:
        for pid in children(daemon):
            forget_peak(pid)
    peak, said_before = 0, log.stat().st_size if log.exists() else 0
    started = time.monotonic()
    for command in commands:
        with open(log, "ab") as out:
            process = subprocess.Popen([str(word) for word in command], env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        seen, ended = [0], threading.Event()

        def watch(pid=process.pid, seen=seen, ended=ended):
            seen[0] = peak_kib(pid)
            while not ended.wait(0.002):
                seen[0] = max(seen[0], peak_kib(pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = process.wait()
        ended.set()
        watcher.join()
        peak = max(peak, seen[0])
        if code != 0:
            raise Failed(f"{' '.join(map(str, command))}\nended with {code}; its words are in {log}:\n{tail(log)}")
    seconds = time.monotonic() - started
    for daemon in daemons:
        peak = max([peak, *(peak_kib(pid) for pid in children(daemon))])
    with open(log, "rb") as said:
        said.seek(said_before)
        own = during(said.read())
    return Measurement(seconds=seconds, peak_kib=peak, beyond_seconds=None if own is None else seconds - own)


def tail(path):
    """The last lines of a log."""
    return "\n".join(Path(path).read_text(errors="replace").splitlines()[-15:])


def size_of(directory):
    """The bytes of all regular files below a directory; each file once, however many names it has."""
    total, seen, queue = 0, set(), [str(directory)]
    while queue:
        try:
            entries = list(os.scandir(queue.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    queue.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink == 1 or (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        total += status.st_size
            except OSError:
                pass
    return total
