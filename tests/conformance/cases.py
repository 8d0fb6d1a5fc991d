"""In: folders of `tests/suite/dockerfile`. Out: cases ready to be built, and what in an outcome is not as expected.

A case is a `Dockerfile`, and as needed: `context/`; `setup.sh`, which makes in the context what a checkout cannot hold; `arguments`, an option
of `docker build` per line. Expected are `expected.tree` and `expected.config.json`, or `expected.error` where it must not build.
`BUILDER.differs` tells where a builder does otherwise: lines with `#` say why, the others are the difference and nothing but it.
`BUILDER.skipped` says why a builder is not asked at all.
"""

import difflib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

SUITE = Path(__file__).resolve().parent.parent / "suite/dockerfile"
UPDATE = bool(os.environ.get("UPDATE"))


class Case:
    """A case in a place of its own."""

    def __init__(self, source, work, words):
        self.source, self.name, self.words = source, source.name, words
        self.place = work / self.name
        self.file = "Dockerfile"
        self.arguments = []

    def prepare(self):
        """Copies it and makes its context."""
        shutil.copytree(self.source, self.place, symlinks=True)
        context = self.place / "context"
        context.mkdir(exist_ok=True)
        # A checkout's umask is of no interest.
        for directory, directories, files in os.walk(context):
            for name in directories:
                if not (Path(directory) / name).is_symlink():
                    (Path(directory) / name).chmod(0o755)
            for name in files:
                path = Path(directory) / name
                if not path.is_symlink():
                    path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        setup = self.place / "setup.sh"
        if setup.exists():
            subprocess.run(["sh", "-euc", f"umask 022; . {setup}"], cwd=context, check=True)
        for file in self.place.rglob("*Dockerfile"):
            file.write_bytes(self.fill_in(file.read_bytes()))
        arguments = self.place / "arguments"
        if arguments.exists():
            for line in arguments.read_text().splitlines():
                option, *value = self.fill_in(line.encode()).decode().split(" ", 1)
                if option == "--file":
                    self.file = value[0]
                else:
                    self.arguments += [option, *value]

    def fill_in(self, data):
        """Puts in what differs from run to run."""
        for word, value in self.words.items():
            data = data.replace(word.encode(), value.encode())
        return data

    def leave_out(self, text):
        """Takes it out again."""
        for word, value in self.words.items():
            text = text.replace(value, word)
        return text.replace(f"{self.place}/", "")

    def expected(self, name):
        path = self.source / name
        return path.read_text() if path.exists() else None

    def write(self, name, text):
        path = self.source / name
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text)

    def must_fail(self):
        return (self.source / "expected.error").exists()


def difference(expected, found):
    """The lines that differ, without the ones around them."""
    lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), n=0, lineterm="")
    return [line for line in lines if not line.startswith(("--- ", "+++ ", "@@ "))]


def without_history(config):
    """A config's text for a builder whose history is not compared."""
    return json.dumps({**json.loads(config), "history": []}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def check_other(case, engine, outcome):
    """What another builder does otherwise than its `.differs` says; nothing where all is well."""
    if case.must_fail():
        found = [] if outcome.error is not None else ["builds"]
    elif outcome.error is not None:
        # Names of containers and addresses in memory differ from run to run.
        error = places(outcome.error).split("\n")[0] or outcome.error
        found = ["fails: " + re.sub("0x[0-9a-f]{10}|[0-9a-f]{64}", "…", case.leave_out(error))]
    else:
        config = case.expected("expected.config.json") or ""
        if not engine.history and config:
            config = without_history(config)
        found = difference(case.expected("expected.tree") or "", outcome.tree) + difference(config, case.leave_out(outcome.config))
    name = f"{engine.name}.differs"
    known = (case.expected(name) or "").splitlines()
    reason, known = [line for line in known if line.startswith("# ")], [line for line in known if not line.startswith("# ")]
    if UPDATE and found != known:
        case.write(name, "".join(line + "\n" for line in (reason or ["# ?"]) + found) if found else None)
        known = found
        reason = (reason or ["# ?"]) if found else []
    wrong = []
    if found != known:
        wrong += [f"{case.name}: {engine.name} differs from what is expected of it:", *difference("\n".join(known), "\n".join(found))]
        if outcome.error is not None:
            wrong.append(engine.errors[case.name])
    if known and (not reason or "# ?" in reason):
        wrong.append(f"{case.name}: {name} gives no reason")
    return wrong


def places(text):
    """What is wrong, and where: a report without warnings and without the lines that it shows."""
    out, wanted = [], False
    for line in map(str.strip, text.splitlines()):
        if line.startswith(("error", "warning", "note")):
            wanted = line.startswith("error")
            out += [line] * wanted
        elif line.startswith("--> "):
            out += [line] * wanted
            wanted = False
    return "".join(line + "\n" for line in out)


def check_ours(case, engine, outcome):
    """What our own outcome has otherwise than expected. What we cannot do yet stands beside the case, as with the others."""
    if (case.source / f"{engine.name}.differs").exists():
        return check_other(case, engine, outcome)
    found = {"expected.tree": None, "expected.config.json": None, "expected.error": None}
    if outcome.error is not None:
        found["expected.error"] = places(case.leave_out(outcome.error))
    else:
        found["expected.tree"] = outcome.tree
        found["expected.config.json"] = case.leave_out(outcome.config)
    wrong = []
    for name, text in found.items():
        expected = case.expected(name)
        if expected == text:
            continue
        if UPDATE:
            case.write(name, text)
        elif text is None:
            wrong.append(f"{case.name}: there is {name}, but {'it fails' if outcome.error is not None else 'it builds'}")
        else:
            wrong += [f"{case.name}: {name}", *difference(expected or "", text)]
    return wrong
