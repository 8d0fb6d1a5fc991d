"""In: a Dockerfile with its context. Out: the commands with which each builder builds and pushes it, and its store, made anew at will."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from measure import size_of

sys.path.insert(0, str(Path(__file__).parent.parent / "conformance"))
from services import docker_program


class Tool:
    """A builder. `fresh` gives it an empty store; `commands` are what is measured."""

    name = ""
    # Processes that work for it besides those it starts.
    daemons = ()

    def __init__(self, work, registry):
        self.work, self.registry, self.count = work / self.name, registry, 0
        self.work.mkdir(parents=True)
        self.store = None

    def fresh(self, place=None):
        """An empty store. The old one is left where it lies until the end: removing trees would disturb what follows."""
        self.count += 1
        self.store = (place or self.work) / f"store-{self.count}"
        self.store.mkdir()

    def environment(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.work)}

    def commands(self, context, tag, push, arguments, cached):
        raise NotImplementedError

    def sharing(self, repository, fills):
        """The words of a build that has a shared cache."""
        return ["--cache-from", repository, *(["--cache-to", repository] if fills else [])]

    def stored(self):
        """The bytes in its store."""
        return size_of(self.store)

    def forget(self):
        """Old stores go."""
        for each in self.work.glob("store-*"):
            if each != self.store:
                shutil.rmtree(each, ignore_errors=True)

    def close(self):
        """Ends what it started."""


class Lapstrake(Tool):
    name = "lapstrake"

    def __init__(self, work, registry, program):
        super().__init__(work, registry)
        self.program = program
        settings = self.work / "config/lapstrake"
        settings.mkdir(parents=True)
        (settings / "config.toml").write_text(f'[registries."docker.io"]\nmirrors = ["{registry}"]\n')
        self.metadata = self.work / "metadata.json"

    def environment(self):
        return {**super().environment(), "XDG_CONFIG_HOME": str(self.work / "config"), "LAPSTRAKE_HOME": str(self.store), "NO_COLOR": "1"}

    def commands(self, context, tag, push, arguments, cached):
        words = [self.program, "build", "--progress=plain", "-f", context / "Dockerfile", "-t", tag, "--metadata-file", self.metadata]
        words += [] if cached else ["--no-cache"]
        words += ["--push"] if push else []
        for name, value in arguments.items():
            words += ["--build-arg", f"{name}={value}"]
        return [[*words, context]]

    def done(self):
        """How many steps it has done last that it did not take from its cache."""
        return sum(not step["cached"] for stage in json.loads(self.metadata.read_text())["stages"] for step in stage["steps"])

    def made(self):
        """The digest of what it made last, and its layers."""
        image = json.loads(self.metadata.read_text())["images"][0]
        return image["digest"], [(layer["digest"], layer["size"]) for layer in image["layers"]]


class Buildah(Tool):
    name = "buildah"

    def __init__(self, work, registry):
        super().__init__(work, registry)
        self.registries, self.policy = self.work / "registries.conf", self.work / "policy.json"
        self.registries.write_text(
            'unqualified-search-registries = ["docker.io"]\n[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\n'
            f'location = "{registry}"\ninsecure = true\n[[registry]]\nlocation = "{registry}"\ninsecure = true\n'
        )
        self.policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def environment(self):
        return {**super().environment(), "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(self.work)}

    def buildah(self):
        return ["buildah", "--root", self.store / "root", "--runroot", self.store / "run", "--storage-driver", "overlay", "--registries-conf", self.registries]

    def commands(self, context, tag, push, arguments, cached):
        words = [*self.buildah(), "build", "--signature-policy", self.policy, "--isolation", "chroot", "--layers", "-t", tag, "-f", context / "Dockerfile"]
        words += [] if cached else ["--no-cache"]
        for name, value in arguments.items():
            words += ["--build-arg", f"{name}={value}"]
        pushing = [[*self.buildah(), "push", "--quiet", "--signature-policy", self.policy, tag]] if push else []
        return [[*words, context], *pushing]


class Docker(Tool):
    """Docker's engine with BuildKit. An empty store is another daemon."""

    name = "docker"

    def __init__(self, work, registry):
        super().__init__(work, registry)
        self.process = None
        self.socket = f"unix://{self.work}/docker.sock"

    def environment(self):
        return {**super().environment(), "DOCKER_BUILDKIT": "1", "DOCKER_HOST": self.socket}

    def fresh(self):
        self.close()
        super().fresh()
        with open(self.work / "dockerd.log", "ab") as out:
            self.process = subprocess.Popen(
                [
                    *("dockerd", "--data-root", self.store, "--exec-root", self.work / "exec", "--pidfile", self.work / "pid"),
                    *("--insecure-registry", self.registry, "--registry-mirror", f"http://{self.registry}", "--iptables=false", "--bridge=none"),
                    *("--storage-driver", "overlay2", "-H", self.socket),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.daemons = (self.process.pid,)
        for _ in range(300):
            if subprocess.run([docker_program(), "version"], env=self.environment(), capture_output=True).returncode == 0:
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit(f"error: dockerd did not start; its log is {self.work}/dockerd.log")

    def commands(self, context, tag, push, arguments, cached):
        words = [docker_program(), "build", "--progress=plain", "--network=host", "-t", tag, "-f", context / "Dockerfile"]
        words += [] if cached else ["--no-cache"]
        for name, value in arguments.items():
            words += ["--build-arg", f"{name}={value}"]
        return [[*words, context], *([[docker_program(), "push", "--quiet", tag]] if push else [])]

    def close(self):
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process, self.daemons = None, ()
        # What it mounted for networks would keep its directory.
        subprocess.run(["umount", self.work / "exec/netns/default"], capture_output=True)


def tools(names, work, registry, program):
    """The builders by name, lapstrake first."""
    made = []
    for name in names:
        match name:
            case "lapstrake":
                made.append(Lapstrake(work, registry, Path(program)))
            case "buildah":
                made.append(Buildah(work, registry))
            case "docker":
                made.append(Docker(work, registry))
            case _:
                raise SystemExit(f"error: no builder is called {name}; there are lapstrake, buildah and docker")
    return made
