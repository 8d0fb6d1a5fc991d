"""What is measured: each case is a context, a state in which it starts, and what is asked of the builder.

A case has a letter; where it has several sizes each gives a row of its own. `warm` cases start from the state that the case before them
left, `fresh` ones from an empty store and a repository that the registry does not have yet.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import inputs

HERE = Path(__file__).parent
TOP = HERE.parent.parent


@dataclass
class Sizes:
    """How much work there is."""

    files: int
    large_bytes: int
    steps: tuple
    stages: tuple
    many: tuple
    huge_bytes: int
    results: tuple


FULL = Sizes(30_000, 640 << 20, (5, 16, 50), (10, 30, 100), (33_000, 100_000, 300_000), 4 << 30, (1_000, 10_000, 100_000))
SMALL = Sizes(300, 4 << 20, (2, 5), (3, 6), (100, 300), 32 << 20, (6, 24))


@dataclass
class Work:
    """What any builder must do at least, of which the machine's limits tell how long it takes."""

    # Files whose metadata are looked at.
    walked_files: int = 0
    # Bytes of layers before and after compression that are hashed.
    stream_bytes: int = 0
    blob_bytes: int = 0
    # Of the former, what is text: the rest does not compress.
    text_bytes: int = 0


def of_files(count):
    """The work for a layer of small files."""
    size = int(count * 6.25 * 1024)
    return Work(count, size, size // 3, size)


@dataclass
class Row:
    """One line of the table."""

    name: str
    title: str
    context: Path
    # What happens to the context before each run; given the number of the run.
    before: object = lambda run: None
    fresh: bool = False
    push: bool = True
    # Arguments of the build; given the number of the run.
    arguments: object = lambda run: {}
    # Which state it continues: rows of the same family share context and tag.
    family: str = ""
    # At most so much of that builder's time.
    targets: dict = field(default_factory=dict)
    runs: int = 0
    only: tuple = ()
    memory_bytes: int = 0
    # The repository of a shared cache: filled before, read by each run.
    shared: str = ""
    # What it must do at least, where that can be told; and at most how many times as long it may take as that takes.
    work: Work | None = None
    times_least: float | None = None
    # At most how many times as large as what `gzip -6` makes its blobs may be.
    times_gzip: float | None = None
    # At most so much memory of lapstrake itself.
    peak_mib: int = 128
    # So many steps of lapstrake's are done in each run, and none of them is taken from the cache.
    anew: int = 0
    # What else is in the store: a context each of whose builds leaves results, how it is changed, and how often it is built.
    others: tuple | None = None


class Inputs:
    """Contexts and bases, made when they are first needed."""

    def __init__(self, work, registry, program, sizes):
        self.work, self.registry, self.program, self.sizes = work / "contexts", registry, program, sizes
        self.work.mkdir()

    def lapstrake(self, *arguments):
        """Runs the program to prepare something."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work),
            "XDG_CONFIG_HOME": str(self.work.parent / "config"),
            "LAPSTRAKE_HOME": str(self.work / "preparing"),
        }
        done = subprocess.run([str(self.program), *map(str, arguments)], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"error: preparing failed:\n{done.stdout}{done.stderr}")

    def base(self):
        """A base of one program."""
        place = self.work / "base"
        if not place.exists():
            place.mkdir()
            shutil.copy("/bin/busybox", place / "busybox")
            (place / "Dockerfile").write_text('FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n')
            self.lapstrake("build", "-f", place / "Dockerfile", "-t", f"{self.registry}/bench/base:1", "--push", place)
        return f"{self.registry}/bench/base:1"

    def project(self):
        """The Django project, with its wheels in a directory, so that the network is not measured."""
        place = self.work / "django"
        if not place.exists():
            example = inputs.copy_of(TOP / "examples/django-wheels", place)
            shutil.copy(HERE / "django/prepare.toml", example / "prepare.toml")
            prepare = ("build", example / "prepare.toml", "--arg", f"registry={self.registry}")
            self.lapstrake(*prepare, "--image=tools", "--image=runtime", "--push")
            self.lapstrake(*prepare, "--image=house", "-o", f"house=rootfs:{self.work}/house")
            shutil.copytree(self.work / "house", example / "wheelhouse")
            shutil.copy(HERE / "django/Dockerfile", example / "Dockerfile")
            (example / "prepare.toml").unlink()
            self.point(example)
        return place, place / "guestbook/views.py"

    def small_project(self):
        """Some stages and commands on the base of one program."""
        place = self.work / "project"
        if not place.exists():
            shutil.copytree(HERE / "project", place)
            self.base()
            self.point(place)
        return place, place / "source/main.sh"

    def point(self, place):
        """The registry has another port each time."""
        file = place / "Dockerfile"
        file.write_text(file.read_text().replace("REGISTRY", self.registry))

    def data(self):
        """Many small files and a large one."""
        place = self.work / "data"
        if not place.exists():
            place.mkdir()
            inputs.small_files(place / "files", self.sizes.files)
            inputs.large_file(place / "large", self.sizes.large_bytes)
            (place / "Dockerfile").write_text("FROM scratch\nCOPY files /files\nCOPY large /large\n")
        return place, place / "files/00/00/file-7.py"

    def many(self, count):
        """Small files only."""
        place = self.work / f"many-{count}"
        if not place.exists():
            place.mkdir()
            inputs.small_files(place / "files", count)
            (place / "Dockerfile").write_text("FROM scratch\nCOPY files /files\n")
        return place

    def huge(self):
        """One layer of several GiB, on the disk: what is on a tmpfs would count as memory."""
        place = Path("/var/tmp") / f"lapstrake-bench-{os.getpid()}"
        if not place.exists():
            place.mkdir()
            inputs.large_file(place / "huge", self.sizes.huge_bytes)
            (place / "Dockerfile").write_text("FROM scratch\nCOPY huge /huge\n")
        return place

    def steps(self, count):
        """Commands that do nothing."""
        place = self.work / f"steps-{count}"
        if not place.exists():
            place.mkdir()
            # Each is another command: equal ones that change nothing are one step to lapstrake, which it runs once.
            commands = "".join(f"RUN : {number}\n" for number in range(count))
            (place / "Dockerfile").write_text(f"FROM {self.base()}\nARG run\n{commands}")
        return place

    def stages(self, count):
        """Stages of one copy each, and one that takes from all."""
        place = self.work / f"stages-{count}"
        if not place.exists():
            place.mkdir()
            lines = [f"FROM {self.base()} AS s{at}\nCOPY f{at} /f{at}\n" for at in range(count)]
            lines += ["FROM scratch\n", *(f"COPY --from=s{at} /f{at} /f{at}\n" for at in range(count))]
            (place / "Dockerfile").write_text("".join(lines))
            self.change(place, count, "first")
        return place

    def layers(self, count):
        """A layer for each of many files."""
        place = self.work / f"layers-{count}"
        if not place.exists():
            place.mkdir()
            lines = [f"COPY f{at} /{at}/f\n" for at in range(count)]
            (place / "Dockerfile").write_text(f"FROM {self.base()}\n{''.join(lines)}")
            self.change(place, count, "first")
        return place

    @staticmethod
    def change(place, count, run):
        """Other contents for each stage's file."""
        for at in range(count):
            (place / f"f{at}").write_text(f"{run} {at}\n")

    def pulled(self, base):
        """A base, one command, an image."""
        place = self.work / "pulled"
        if not place.exists():
            place.mkdir()
            (place / "Dockerfile").write_text(f"FROM {base}\nRUN echo made > /made\n")
        return place


def rows(letters, inputs_made, sizes, small):
    """The rows of the wanted cases, in order. Making the inputs is part of it."""
    found = []
    if set("abc") & set(letters):
        context, source = inputs_made.small_project() if small else inputs_made.project()
        better = {"buildah": 0.60, "docker": 0.60}
        found += [
            Row("a", "several stages, from nothing", context, fresh=True, family="project", targets=better),
            Row("b", "unchanged", context, family="project", targets={"buildah": 0.03}),
            Row("c", "one line edited", context, before=lambda run: inputs.edit(source, f"run {run}"), family="project", targets={"buildah": 0.10}),
        ]
    if "j" in letters:
        context, source = inputs_made.small_project() if small else inputs_made.project()
        found.append(
            Row(
                "j",
                "one line edited, only a cache",
                context,
                before=lambda run: inputs.edit(source, f"cold run {run}"),
                fresh=True,
                family="cold",
                only=("lapstrake", "buildah"),
                shared=f"{inputs_made.registry}/bench/cache",
                targets={"buildah": 0.10},
            )
        )
    if set("def") & set(letters):
        context, file = inputs_made.data()
        files, large = of_files(sizes.files), sizes.large_bytes
        all_of_it = Work(
            files.walked_files + 1, files.stream_bytes + large, files.blob_bytes + large * 2 // 3, files.text_bytes + large // 2
        )
        one_layer = Work(files.walked_files + 1, files.stream_bytes, files.blob_bytes, 0)
        quarter, tenth = {"buildah": 0.25, "docker": 0.25}, {"buildah": 0.10, "docker": 0.10}
        found += [
            Row("d", "large context", context, fresh=True, family="data", targets=quarter, work=all_of_it, times_least=1.3, times_gzip=1.02),
            Row("e", "large context, unchanged", context, family="data", targets={"buildah": 0.02}, work=Work(files.walked_files + 1)),
            Row("f", "large context, one file edited", context, before=lambda run: inputs.edit(file, f"run {run}"), family="data", targets=tenth, work=one_layer),
        ]
    if "g" in letters:
        base = inputs_made.base() if small else f"{inputs_made.registry}/library/python:3.11-slim-bookworm"
        half = {"buildah": 0.5, "docker": 0.5}
        found.append(Row("g", "pull, one command, push", inputs_made.pulled(base), fresh=True, family="pulled", targets=half))
    if "h" in letters:
        for count in sizes.steps:
            found.append(
                Row(
                    f"h{count}",
                    f"{count} commands that do nothing",
                    inputs_made.steps(count),
                    push=False,
                    arguments=lambda run: {"run": run},
                    family=f"steps-{count}",
                    targets={"buildah": 0.10} if count == 50 else {},
                )
            )
    if "i" in letters:
        for count in sizes.stages:
            context = inputs_made.stages(count)
            change = lambda run, context=context, count=count: inputs_made.change(context, count, f"{count}-{run + 1}")
            found.append(Row(f"i{count}", f"{count} stages of one copy", context, push=False, before=change, family=f"stages-{count}", anew=2 * count))
    if "k" in letters:
        found.append(Row("k", "one large layer, 256 MiB of memory", inputs_made.huge(), push=False, fresh=True, family="huge", runs=1, only=("lapstrake",), memory_bytes=256 << 20, peak_mib=256, work=Work(1, sizes.huge_bytes, sizes.huge_bytes * 2 // 3, sizes.huge_bytes // 2)))
    if "l" in letters:
        for count in sizes.many:
            found.append(Row(f"l{count}", f"{count} files", inputs_made.many(count), push=False, fresh=True, family=f"many-{count}", runs=1, work=of_files(count)))
    if "n" in letters:
        for count in sizes.stages:
            context = inputs_made.layers(count)
            change = lambda run, context=context, count=count: inputs_made.change(context, count, f"{count}-{run + 1}")
            found.append(Row(f"n{count}", f"{count} layers of one file", context, before=change, family=f"layers-{count}", anew=count))
    if "o" in letters:
        few, many = min(sizes.stages), max(sizes.stages)
        ten, hundred = inputs_made.stages(few), inputs_made.stages(many)
        for count in sizes.results:
            change = lambda run, count=count: inputs_made.change(ten, few, f"measured {count} {run}")
            others = (hundred, lambda run, count=count: inputs_made.change(hundred, many, f"other {count} {run}"), count // (2 * many))
            found.append(Row(f"o{count}", f"{few} stages, {count} results beside them", ten, push=False, before=change, family=f"results-{count}", only=("lapstrake",), others=others, anew=2 * few))
    return [row for row in found if row.name[0] in letters]
