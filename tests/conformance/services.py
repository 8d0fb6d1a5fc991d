"""In: a directory to work in. Out: what the builders need besides the cases: a registry with the base images, and a web server.

Everything listens on a loopback port that the kernel chose, and ends with the `with` block.
"""

import contextlib
import functools
import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def end(process):
    """Ends a process and those that it started in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(what, ready, process, log):
    """Waits for a service; shows its log where it ends or never is ready."""
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        found = ready()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"error: {what} did not start; its log:\n{log.read_text()}")


@contextlib.contextmanager
def registry(work):
    """Debian's docker-registry; gives HOST:PORT."""
    work.mkdir(parents=True)
    config, log = work / "config.yml", work / "log"
    config.write_text(
        "version: 0.1\n"
        "log:\n  level: info\n  accesslog:\n    disabled: true\n"
        f"storage:\n  filesystem:\n    rootdirectory: {work}/data\n"
        "http:\n  addr: 127.0.0.1:0\n"
    )
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["docker-registry", "serve", config],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={"PATH": os.environ["PATH"], "HOME": str(work), "OTEL_TRACES_EXPORTER": "none"},
            start_new_session=True,
        )
    try:
        found = wait_until("docker-registry", lambda: re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text()), process, log)
        yield found[1]
    finally:
        end(process)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def web(files):
    """Serves a directory; gives http://HOST:PORT."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(files)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


# Whoever commits: the commit's digest depends on it.
GIT = {
    "PATH": os.environ["PATH"],
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_AUTHOR_DATE": "1000000000 +0000",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
    "GIT_COMMITTER_DATE": "1000000000 +0000",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


def fill_web(files, archives):
    """What the cases download: `plain`, the archives, and a git repository `repository.git` as files."""
    files.mkdir(parents=True)
    (files / "plain").write_text("downloaded\n")
    for name, data in archives.items():
        (files / name).write_bytes(data)
    checkout = files.with_name("checkout")

    def git(*arguments, at=checkout):
        subprocess.run(["git", *arguments], cwd=at, env={**GIT, "HOME": str(files)}, check=True, capture_output=True)

    checkout.mkdir()
    git("init", "--quiet", "--initial-branch=main")
    for name, text in (("README", "read me\n"), ("docs/page", "page\n"), ("docs/deep/page", "deep page\n")):
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    program = checkout / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (checkout / "link").symlink_to("README")
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    git("tag", "v1")
    (checkout / "README").write_text("read me again\n")
    git("commit", "--quiet", "--all", "--message", "two")
    git("clone", "--quiet", "--bare", str(checkout), str(files / "repository.git"), at=files)
    # What a server of plain files needs.
    git("update-server-info", at=files / "repository.git")


@contextlib.contextmanager
def docker_engine(work, mirror):
    """A daemon of its own; gives the socket's address."""
    work.mkdir(parents=True)
    socket, log = f"unix://{work}/docker.sock", work / "log"
    overlay = subprocess.run(["stat", "--file-system", "--format", "%T", work], capture_output=True, text=True, check=True).stdout
    command = [
        "dockerd",
        *("--data-root", work / "data", "--exec-root", work / "exec", "--pidfile", work / "pid", "-H", socket),
        *("--storage-driver", "vfs" if overlay.startswith("overlay") else "overlay2"),
        *("--registry-mirror", f"http://{mirror}", "--insecure-registry", mirror),
        *("--iptables=false", "--ip6tables=false", "--bridge=none"),
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    try:
        ready = lambda: subprocess.run([docker_program(), "-H", socket, "version"], capture_output=True).returncode == 0
        wait_until("dockerd", ready, process, log)
        yield socket
    finally:
        if process.poll() is not None:
            print(f"dockerd ended by itself; its log:\n{log.read_text()[-4000:]}", file=sys.stderr)
        end(process)


def docker_program():
    """Debian's client: another one that stands before it on PATH may know no BuildKit without its plug-ins."""
    debian = Path("/usr/bin/docker")
    return str(debian) if debian.exists() else "docker"
