"""In: a case that builds. Out: what its conversions to TOML make otherwise than the Dockerfile itself.

`convert --exact` keeps the layers, byte for byte, and the config with its history. `convert` keeps the file system and what the config says; layers
may be cut otherwise. Both are built with the store in which the case was built, so that few steps are run again. What does not build as a Dockerfile is not converted, or does not build then either.
"""

import subprocess

import same

MANNERS = {"exact": ["--exact"], "idiomatic": []}

# Options that are about an image or about the inputs of its steps, and not about what the text means.
OF_BUILD_ALONE = ("--label", "--secret", "--ssh")


class Conversions:
    """The conversions of cases, and what was built of them."""

    def __init__(self, engine):
        self.engine = engine
        self.errors = {}

    def layout(self, case, manner):
        return self.engine.work / manner / case.name

    def build(self, case):
        """Converts a case, and builds that."""
        for manner, options in MANNERS.items():
            spec = f"{manner}.toml"
            self.layout(case, manner).parent.mkdir(exist_ok=True)
            pairs = list(zip(case.arguments[::2], case.arguments[1::2], strict=True))
            words = [word for pair in pairs if pair[0] not in OF_BUILD_ALONE for word in pair]
            # What `--target` names is the image of the spec.
            again = [word for pair in pairs if pair[0] != "--target" for word in pair]
            convert = ["convert", *options, "-f", case.file, *words, "-o", spec, "context"]
            build = ["build", "--progress=plain", "-f", spec, *again, "-o", f"oci:{self.layout(case, manner)}"]
            for command in (convert, build):
                done = subprocess.run(
                    [self.engine.program, *command],
                    cwd=case.place,
                    env=self.engine.environment(),
                    capture_output=True,
                    stdin=subprocess.DEVNULL,
                )
                if done.returncode not in (0, 1, 2, 3):
                    raise SystemExit(f"error: {case.name}: lapstrake {command[0]} ended with {done.returncode}:\n{done.stderr.decode('utf-8', 'replace')}")
                if done.returncode != 0:
                    self.errors[case.name, manner] = done.stderr.decode("utf-8", "replace")
                    break

    def wrong(self, case):
        """What is otherwise."""
        wrong = []
        original = self.engine.work / "out" / case.name
        for manner in MANNERS:
            name = f"{case.name}: converted ({manner})"
            if case.name in self.engine.errors:
                wrong += [] if (case.name, manner) in self.errors else [f"{name}, it builds, and the Dockerfile does not"]
                continue
            if (case.name, manner) in self.errors:
                wrong.append(f"{name}, it does not build:\n{self.errors[case.name, manner]}")
                continue
            layout = self.layout(case, manner)
            found = same.exactly(original, layout) if manner == "exact" else same.alike(original, layout)
            if found:
                wrong += [f"{name}, its image (+) is another than that of the Dockerfile (-):", *found]
        return wrong
