"""In: builders and cases by name. Out: 0 where every builder does with every case what is expected, else 1 and what differs.

    python3 run.py [--program LAPSTRAKE] [--work DIRECTORY] [--expect-from BUILDER] BUILDER… [-- CASE…]

Builders are `lapstrake`, `docker`, `buildah`. UPDATE=1 writes what is found: what lapstrake does as what is expected, what another builder does
otherwise as its difference, for which a person then gives the reason.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bases
import cases
import converting
import engines
import services


def archives():
    """What is unpacked or is not."""
    layer = bases.Layer()
    layer.directory("packed", 0o750, (1000, 1001))
    layer.file("packed/file", "packed\n", 0o640, (1000, 1001))
    return {"archive.tar": layer.done()}


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--expect-from", default="lapstrake")
    parser.add_argument("builders", nargs="+", choices=["lapstrake", "docker", "buildah"])
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    return parser.parse_args(sys.argv[1:at]), sys.argv[at + 1 :]


def main():
    options, wanted = parse()
    work = Path(tempfile.mkdtemp(prefix="lapstrake-conformance.", dir=options.work))
    work.chmod(0o755)
    try:
        with contextlib.ExitStack() as stack:
            return run(options, wanted, work, stack)
    finally:
        unmount(work)
        shutil.rmtree(work, ignore_errors=True)


def unmount(work):
    """Takes away what builders have mounted below a directory for their steps and left there."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounted if place.startswith(f"{work}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False)


def run(options, wanted, work, stack):
    images = bases.images(Path("/bin/busybox").read_bytes())
    registry = stack.enter_context(services.registry(work / "registry"))
    for image in images:
        image.push(registry)
    services.fill_web(work / "web", archives())
    address = stack.enter_context(services.web(work / "web"))
    words = {"@WEB@": address, "@BASE@": images[0].digest}

    folders = sorted(path for path in cases.SUITE.iterdir() if path.is_dir() and (not wanted or path.name in wanted))
    if missing := set(wanted) - {path.name for path in folders}:
        raise SystemExit(f"error: no cases called {', '.join(sorted(missing))}")

    wrong = []
    for name in options.builders:
        began = time.monotonic()
        if name == "docker":
            socket = stack.enter_context(services.docker_engine(work / "docker", registry))
            engine = engines.Docker(work / name / "client", images, socket)
        elif name == "buildah":
            engine = engines.Buildah(work / name, images, registry)
        else:
            engine = engines.Lapstrake(work / name, images, registry, options.program.resolve())
        all_cases = [cases.Case(folder, work / "cases" / name, words) for folder in folders if not (folder / f"{name}.skipped").exists()]
        conversions = converting.Conversions(engine) if name == "lapstrake" else None
        with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            list(pool.map(lambda case: build(case, engine, conversions), all_cases))
        for case in all_cases:
            try:
                outcome = engine.outcome(case)
            except Exception as error:
                raise RuntimeError(f"{name}: {case.name}") from error
            wrong += cases.check_ours(case, engine, outcome) if name == options.expect_from else cases.check_other(case, engine, outcome)
            wrong += conversions.wrong(case) if conversions else []
        print(f"{name}: {len(all_cases)} cases in {time.monotonic() - began:.1f} s", file=sys.stderr)
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def build(case, engine, conversions):
    """Builds a case, and what becomes of it by converting."""
    case.prepare()
    engine.build(case)
    if conversions:
        conversions.build(case)


if __name__ == "__main__":
    sys.exit(main())
