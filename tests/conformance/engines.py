"""In: a prepared case. Out: what a builder makes of it, as canonical text, or how it fails.

Each builder is a class with `build(case)`, which may run in several threads at once, and `outcome(case)`, called once all are built.
"""

import json
import os
import subprocess
import tarfile
from dataclasses import dataclass

import canonical
from services import docker_program


@dataclass
class Outcome:
    """What became of a case: two texts, or the message of a failure."""

    tree: str = ""
    config: str = ""
    error: str | None = None


class Engine:
    """What the builders have in common."""

    # Whether entries of the history are those of BuildKit.
    history = True

    def __init__(self, work, bases):
        self.work, self.bases = work, {image.name: image for image in bases}
        self.errors = {}
        work.mkdir(parents=True, exist_ok=True)

    def command(self, case):
        raise NotImplementedError

    def environment(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.work)}

    def build(self, case):
        """Builds it; a failure is kept."""
        done = subprocess.run(self.command(case), cwd=case.place, env=self.environment(), capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            self.errors[case.name] = (done.stdout + done.stderr).decode("utf-8", "replace")
            self.failed(case, done.returncode)

    def failed(self, case, code):
        """Looks at how a build failed."""

    def describe(self, document, layers):
        """The canonical texts of an image."""
        base = next((image for image in self.bases.values() if document["history"][: len(image.history)] and [
            entry.get("created_by", "") for entry in document["history"][: len(image.history)]
        ] == image.history), None)
        if not self.history:
            document = {**document, "history": []}
        return Outcome(canonical.tree_text(layers, self.bases["base"].layers), canonical.config_text(document, base.history if base else []))


class Docker(Engine):
    """Docker's engine, which builds with BuildKit."""

    name = "docker"

    def __init__(self, work, bases, socket):
        super().__init__(work, bases)
        self.docker = [docker_program(), "-H", socket]
        self.images = None

    def environment(self):
        return {**super().environment(), "DOCKER_BUILDKIT": "1"}

    def command(self, case):
        return [*self.docker, "build", "--progress=plain", "--network=none", "-t", f"case-{case.name}", "-f", case.file, *case.arguments, "context"]

    def outcome(self, case):
        if case.name in self.errors:
            return Outcome(error=last_line(self.errors[case.name]))
        if self.images is None:
            self.export()
        document, layers = self.images[f"case-{case.name}:latest"]
        return self.describe(document, layers)

    def export(self):
        """All images at once: what they share is written once."""
        listed = subprocess.run([*self.docker, "images", "--format", "{{.Repository}}"], capture_output=True, text=True, check=True)
        names = sorted({name for name in listed.stdout.split() if name.startswith("case-")})
        archive = self.work / "images.tar"
        subprocess.run([*self.docker, "save", "-o", archive, *names], check=True, env=self.environment())
        self.images = {}
        with tarfile.open(archive) as images:
            read = functools_cache(lambda name: images.extractfile(name).read())
            for image in json.loads(read("manifest.json")):
                for tag in image["RepoTags"] or []:
                    self.images[tag] = (json.loads(read(image["Config"])), [read(layer) for layer in image["Layers"]])


def functools_cache(function):
    """Remembers what a function gave."""
    known = {}

    def remembered(name):
        if name not in known:
            known[name] = function(name)
        return known[name]

    return remembered


class Buildah(Engine):
    """Debian's buildah. Its history has the words of Docker's classic builder, and is not compared."""

    name = "buildah"
    history = False

    def __init__(self, work, bases, mirror):
        super().__init__(work, bases)
        registries, policy = work / "registries.conf", work / "policy.json"
        registries.write_text(
            'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "permissive"\n[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\n'
            f'location = "{mirror}"\ninsecure = true\n'
        )
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        overlay = subprocess.run(["stat", "--file-system", "--format", "%T", work], capture_output=True, text=True, check=True).stdout
        driver = "vfs" if overlay.startswith("overlay") else "overlay"
        self.buildah = ["buildah", "--root", work / "root", "--runroot", work / "run", "--storage-driver", driver, "--registries-conf", registries]
        self.policy = policy

    def environment(self):
        return {**super().environment(), "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self.work)}

    def command(self, case):
        # What is set here is the default, which a case's own arguments may change.
        return [
            *(*self.buildah, "build", "--signature-policy", self.policy, "--isolation", "chroot", "--layers=false", "--format", "docker"),
            *("--identity-label=false", "-t", f"case-{case.name}", "-f", case.file, *case.arguments, "context"),
        ]

    def build(self, case):
        super().build(case)
        # Cases are built side by side, and one that wants a base for another platform takes its name away from those that have just pulled it.
        for _ in range(3):
            if "locating pulled image" not in self.errors.get(case.name, ""):
                break
            del self.errors[case.name]
            super().build(case)
        if case.name not in self.errors:
            target = self.work / "out" / case.name
            target.mkdir(parents=True)
            subprocess.run(
                [*self.buildah, "push", "--quiet", "--signature-policy", self.policy, f"case-{case.name}", f"dir:{target}"],
                env=self.environment(),
                check=True,
                capture_output=True,
            )

    def outcome(self, case):
        if case.name in self.errors:
            return Outcome(error=last_line(self.errors[case.name]))
        target = self.work / "out" / case.name
        manifest = json.loads((target / "manifest.json").read_bytes())
        read = lambda descriptor: (target / descriptor["digest"].removeprefix("sha256:")).read_bytes()
        return self.describe(json.loads(read(manifest["config"])), [read(layer) for layer in manifest["layers"]])


class Lapstrake(Engine):
    """The program under test."""

    name = "lapstrake"

    def __init__(self, work, bases, mirror, program):
        super().__init__(work, bases)
        self.program = program
        settings = work / "config/lapstrake"
        settings.mkdir(parents=True)
        (settings / "config.toml").write_text(f'[registries."docker.io"]\nmirrors = ["{mirror}"]\n')

    def environment(self):
        return {**super().environment(), "XDG_CONFIG_HOME": str(self.work / "config"), "LAPSTRAKE_HOME": str(self.work / "store"), "NO_COLOR": "1"}

    def command(self, case):
        target = self.work / "out" / case.name
        target.parent.mkdir(exist_ok=True)
        return [self.program, "build", "--progress=plain", "-f", case.file, *case.arguments, "-o", f"oci:{target}", "context"]

    def failed(self, case, code):
        error = self.errors[case.name]
        if code not in (1, 2, 3) or "panicked" in error:
            raise SystemExit(f"error: {case.name}: lapstrake ended with {code}:\n{error}")

    def outcome(self, case):
        if case.name in self.errors:
            return Outcome(error=self.errors[case.name])
        return self.describe(*canonical.read_layout(self.work / "out" / case.name))


def last_line(text):
    """The last line that says something."""
    return ([line for line in text.splitlines() if line.strip()] or [""])[-1].strip()
