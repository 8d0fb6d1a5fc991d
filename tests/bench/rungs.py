"""In: the program and a base. Out: what a command that does nothing costs on each rung, beside the same by hand."""

import statistics
import subprocess
import time

from measure import Failed, timed

RUNGS = ("userns", "single-id", "chroot")

# Namespaces, an overlay, another root, a program: what has to be done for a command at least.
BY_HAND = """
for number in $(seq "$3"); do
    mkdir "$2/$number" "$2/$number/upper" "$2/$number/work" "$2/$number/root"
    unshare --user --map-root-user --mount --pid --fork --net --ipc --uts sh -ec '
        mount -t overlay overlay -o "userxattr,lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
        exec chroot "$2/root" /bin/true' sh "$1" "$2/$number"
done
"""


def by_hand(work, count):
    """Seconds of so many, one after another."""
    place = work / f"by-hand-{time.monotonic_ns()}"
    (place / "lower/bin").mkdir(parents=True)
    (place / "steps").mkdir()
    subprocess.run(["cp", "/bin/busybox", place / "lower/bin/true"], check=True)
    started = time.perf_counter()
    done = subprocess.run(["sh", "-ec", BY_HAND, "sh", place / "lower", place / "steps", str(count)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"a step by hand failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def built(tool, context, rung, run, log):
    """Seconds of a build into an empty store."""
    tool.fresh()
    command = tool.commands(context, "bench/rung:1", False, {"run": run}, True)[0]
    return timed([[*command[:-1], f"--isolation={rung}", command[-1]]], tool.environment(), context, log).seconds


def measured(tool, inputs, counts, runs, log):
    """Milliseconds of one more step on each rung and by hand: what many take beyond few, so that all else that a build does is not in it."""
    few, many = min(counts), max(counts)
    found = {name: [] for name in (*RUNGS, "by hand")}
    for run in range(runs):
        made = set()
        for rung in RUNGS:
            seconds = [built(tool, inputs.steps(count), rung, run, log) for count in (few, many)]
            made.add(tool.made()[0])
            if len(made) > 1:
                raise Failed(f"on {rung} another image is made than on the rungs before it")
            found[rung].append((seconds[1] - seconds[0]) / (many - few))
        found["by hand"].append((by_hand(inputs.work, many) - by_hand(inputs.work, few)) / (many - few))
    tool.forget()
    return {name: round(statistics.median(each) * 1000, 2) for name, each in found.items()}


def line(found):
    """As text."""
    return "m       a command that does nothing, in a build\n        " + ", ".join(f"{name} {each:.2f} ms" for name, each in found.items())
