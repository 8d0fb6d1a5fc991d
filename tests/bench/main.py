"""In: the program, a place to work, a registry. Out: a table on stdout, and results.json and chart.svg in a directory."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import chart
import limits
import rungs
import table
from cases import FULL, SMALL, Inputs, rows
from measure import Failed, size_of, timed
from tools import tools

LETTERS = "abcdefghijklmno"


class Bench:
    """One run of the benchmark."""

    def __init__(self, options, builders, inputs):
        self.options, self.builders, self.inputs = options, builders, inputs
        self.storage = options.work / "registry"
        self.log = options.work / "log"
        # What each builder has built of each family: the tag that it builds on.
        self.tags = {}
        self.count = 0
        self.limits = limits.Limits(options.work)

    def tag(self, row, tool):
        """A repository that the registry does not have: what it has need not be sent."""
        self.count += 1
        return f"{self.options.registry}/bench-{tool.name}/{row.family}-{self.count}:1"

    def build(self, row, tool, run, cached=True, fills=False):
        """One measured build. What `fills` a shared cache writes to it, too."""
        if row.memory_bytes:
            # What is written to a file system in memory counts as memory.
            tool.fresh(Path(f"/var/tmp/lapstrake-bench-{os.getpid()}"))
        elif row.fresh:
            tool.fresh()
        if row.fresh or (row.family, tool.name) not in self.tags:
            self.tags[row.family, tool.name] = self.tag(row, tool)
        commands = tool.commands(row.context, self.tags[row.family, tool.name], row.push, row.arguments(run), cached)
        if row.shared:
            commands[0][-1:-1] = tool.sharing(f"{row.shared}-{tool.name}", fills)
        if row.memory_bytes:
            commands = [limits.within(row.memory_bytes, command) for command in commands]
        stored, sent = tool.stored(), size_of(self.storage)
        measured = timed(commands, tool.environment(), row.context, self.log, tool.daemons)
        measured.stored_bytes, measured.sent_bytes = max(0, tool.stored() - stored), size_of(self.storage) - sent
        if hasattr(tool, "made"):
            measured.digest, measured.blobs = tool.made()
            if run >= 0 and row.anew and tool.done() != row.anew:
                raise Failed(f"{row.name}: {tool.done()} steps were done, and not {row.anew}")
        return measured

    def warm(self, row, tool):
        """The state in which a warm case starts, where no case before it left it."""
        if row.shared:
            self.build(row, tool, -1, fills=True)
            return
        if row.fresh or (row.family, tool.name) in self.tags:
            return
        if tool.store is None or row.others:
            tool.fresh()
        if row.others:
            self.fill(row, tool)
        self.build(row, tool, -1)

    def fill(self, row, tool):
        """Results of other builds, which are in the store beside those that are measured."""
        context, change, builds = row.others
        for run in range(builds):
            change(run)
            for command in tool.commands(context, "bench/others:1", False, {}, True):
                done = subprocess.run([str(word) for word in command], env=tool.environment(), cwd=context, capture_output=True, text=True)
                if done.returncode != 0:
                    raise Failed(done.stderr)

    def blob(self, digest):
        """Where the registry has it."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.storage / "data/docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"

    def slow_path(self, row, run):
        """The same image without any cache, by one job, in an empty store: what a fast path must have made too."""
        tool = self.builders[0]
        kept, kept_tag = tool.store, self.tags[row.family, tool.name]
        tool.fresh()
        commands = [[*command[:2], "--jobs=1", *command[2:]] for command in tool.commands(row.context, kept_tag, False, row.arguments(run), False)]
        timed(commands, tool.environment(), row.context, self.log)
        digest, _ = tool.made()
        shutil.rmtree(tool.store, ignore_errors=True)
        tool.store = kept
        return digest

    def row(self, row):
        """All runs of a row, builder by builder in turn."""
        builders = [tool for tool in self.builders if not row.only or tool.name in row.only]
        found, failed = {tool.name: [] for tool in builders}, {}

        def each(work):
            """Asks all who have not failed yet. What another builder cannot do is a result, too."""
            for tool in [tool for tool in builders if tool.name in found]:
                try:
                    work(tool)
                except Failed as failure:
                    if tool.name == "lapstrake":
                        raise
                    del found[tool.name]
                    failed[tool.name] = str(failure).splitlines()[-1]

        each(lambda tool: self.warm(row, tool))
        seen = set()
        same = None
        least = []
        for run in range(row.runs or self.options.runs):
            row.before(run)
            if row.work is not None:
                least.append(limits.least_seconds(self.limits.measured(), row.work, row.push))
            each(lambda tool: found[tool.name].append(self.build(row, tool, run)))
            if "lapstrake" in found and (made := found["lapstrake"][-1].digest) not in seen:
                seen.add(made)
                same = same is not False and self.slow_path(row, run) == made
        for tool in builders:
            tool.forget()
        beside_gzip = limits.beside_gzip([self.blob(digest) for digest, _ in found["lapstrake"][-1].blobs]) if row.times_gzip and "lapstrake" in found else None
        return table.Measured(found, failed, same, least, beside_gzip)


def machine():
    """What it ran on."""
    cpu = next((text.split(":")[1].strip() for text in Path("/proc/cpuinfo").read_text().splitlines() if text.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 2**20
    return {"processor": cpu, "cores": os.cpu_count(), "memory_gib": memory, "kernel": platform.release()}


def versions(names, program):
    """Which builders they were."""
    asked = {"lapstrake": [program, "--version"], "buildah": ["buildah", "--version"], "docker": ["dockerd", "--version"]}
    return {name: subprocess.run(asked[name], capture_output=True, text=True).stdout.strip() for name in names}


def main():
    parser = argparse.ArgumentParser(prog="bash tests/bench/run.sh")
    parser.add_argument("--program", required=True, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", required=True, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--registry", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help="a hundredth of the work: shows that all of it works, not how fast")
    parser.add_argument("--runs", type=int, default=5, help="how often each case is run by each builder")
    parser.add_argument("--case", default=LETTERS, metavar="LETTERS", help=f"which cases, of {LETTERS}")
    parser.add_argument("--tools", default="lapstrake,buildah,docker", metavar="NAMES", help="which builders")
    parser.add_argument("--out", type=Path, default=Path("target/bench"), help="where results.json and chart.svg go")
    options = parser.parse_args()
    if unknown := set(options.case) - set(LETTERS):
        raise SystemExit(f"error: there is no case {', '.join(sorted(unknown))}; there are {LETTERS}")
    names = options.tools.split(",")
    sizes = SMALL if options.small else FULL
    inputs = Inputs(options.work, options.registry, options.program, sizes)
    builders = tools(names, options.work, options.registry, options.program)
    bench = Bench(options, builders, inputs)
    results, wrong = [], []
    machine_limits = bench.limits.measured()
    try:
        for row in rows(options.case, inputs, sizes, options.small):
            measured = bench.row(row)
            # A hundredth of the work tells nothing of times.
            results.append(table.summary(row, measured, not options.small))
            print(table.line(results[-1]), flush=True)
            if measured.same is False:
                wrong.append(row.name)
                print("        NOT the image that the slow path makes", flush=True)
        by_rung = None
        if "m" in options.case and "lapstrake" in names:
            by_rung = rungs.measured(builders[names.index("lapstrake")], inputs, sizes.steps, options.runs, bench.log)
            print(rungs.line(by_rung), flush=True)
    except Failed as failure:
        raise SystemExit(f"error: {failure}") from None
    finally:
        limits.forget_groups()
        bench.limits.close()
        for tool in builders:
            tool.close()
        for place in Path("/var/tmp").glob(f"lapstrake-bench-{os.getpid()}"):
            shutil.rmtree(place)
    options.out.mkdir(parents=True, exist_ok=True)
    document = {"version": 1, "machine": machine(), "builders": versions(names, options.program), "small": options.small, "limits": machine_limits, "rungs": by_rung, "rows": results}
    (options.out / "results.json").write_text(json.dumps(document, indent=2) + "\n")
    (options.out / "chart.svg").write_text(chart.drawn(results))
    if not options.small:
        print(table.ending(results))
    print(f"{options.out}/results.json and chart.svg written")
    if wrong:
        raise SystemExit(f"error: {', '.join(wrong)}: not the image that the slow path makes")


if __name__ == "__main__":
    sys.exit(main())
