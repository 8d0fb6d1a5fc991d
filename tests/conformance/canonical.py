"""In: an image as a list of layer archives and its config. Out: canonical text of its file system and of its config.

The file system is one line per path, sorted by bytes: kind, mode, owner, path, and what the kind has besides. Times are left out. Text of
up to 160 printable characters stands as it is, anything longer as its SHA-256. What is as it is in the base image is left out, what the base
has and the image has not is a line `gone`; an image without the base's mark is compared with an empty file system.
"""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field

# A file that only the base has: whether an image stands on the base is told by it.
MARK = b"/etc/base-image"

# The fields of a config that a Dockerfile can set.
CONFIG_FIELDS = (
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)


@dataclass
class Node:
    """What a path is. `inode` is the same object for all names of a file."""

    kind: str
    mode: int = 0o755
    owner: tuple = (0, 0)
    text: str = ""
    xattrs: dict = field(default_factory=dict)

    def same_as(self, other):
        """Whether nothing but a time differs."""
        return (self.kind, self.mode, self.owner, self.text, self.xattrs) == (
            other.kind,
            other.mode,
            other.owner,
            other.text,
            other.xattrs,
        )


def as_bytes(name):
    """A name as the archive has it."""
    return name.encode("utf-8", "surrogateescape")


def clean(name):
    """An archive's name as an absolute path without `.` and double slashes."""
    parts = [part for part in as_bytes(name).split(b"/") if part not in (b"", b".")]
    return b"/" + b"/".join(parts)


def readable(name):
    """A name with what is not plain text as `\\xNN`."""
    return "".join(chr(byte) if 0x20 < byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in name)


def contents(data):
    """Short text as it is, anything else by its digest."""
    if len(data) <= 160:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = None
        if text is not None and all(letter.isprintable() or letter in "\n\t\r" for letter in text):
            return json.dumps(text, ensure_ascii=False)
    return "sha256:" + hashlib.sha256(data).hexdigest()


def xattrs_of(member):
    """The extended attributes that an archive's entry names."""
    found = {}
    for key, value in member.pax_headers.items():
        for prefix in ("SCHILY.xattr.", "LIBARCHIVE.xattr."):
            if key.startswith(prefix):
                found[key[len(prefix) :]] = as_bytes(value)
    return found


def remove(paths, path):
    """Removes a path and what is below it."""
    below = path.rstrip(b"/") + b"/"
    for known in [known for known in paths if known == path or known.startswith(below)]:
        del paths[known]


def apply_layer(paths, data):
    """Puts a layer on what is there, as the image specification says: removals concern the layers below alone."""
    below = dict(paths)
    added = set()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
        for member in archive:
            path = clean(member.name)
            directory, _, name = path.rpartition(b"/")
            if name == b".wh..wh..opq":
                prefix = directory + b"/"
                for known in [known for known in below if known.startswith(prefix) and known not in added]:
                    paths.pop(known, None)
                continue
            if name.startswith(b".wh..wh."):
                continue
            if name.startswith(b".wh."):
                gone = directory + b"/" + name[4:]
                if gone not in added:
                    remove(paths, gone)
                continue
            added.add(path)
            owner = (member.uid, member.gid)
            if member.islnk():
                # One file with one more name.
                paths[path] = paths[clean(member.linkname)]
                continue
            if member.isdir():
                node = Node("dir", member.mode & 0o7777, owner)
                if path in paths and paths[path].kind != "dir":
                    remove(paths, path)
            else:
                remove(paths, path)
                if member.isreg():
                    node = Node("file", member.mode & 0o7777, owner, contents(archive.extractfile(member).read()))
                elif member.issym():
                    node = Node("link", 0o777, owner, readable(as_bytes(member.linkname)))
                elif member.isfifo():
                    node = Node("fifo", member.mode & 0o7777, owner)
                elif member.ischr() or member.isblk():
                    kind = "char" if member.ischr() else "block"
                    node = Node(kind, member.mode & 0o7777, owner, f"{member.devmajor}:{member.devminor}")
                else:
                    raise ValueError(f"{path!r}: an entry of type {member.type!r}")
            node.xattrs = xattrs_of(member)
            paths[path] = node
    for path in list(paths):
        parent = path.rpartition(b"/")[0]
        while parent and parent not in paths:
            paths[parent] = Node("dir")
            parent = parent.rpartition(b"/")[0]


def file_system(layers):
    """All layers on one another, lowest first."""
    paths = {}
    for layer in layers:
        apply_layer(paths, layer)
    paths.pop(b"/", None)
    return paths


def hard_links(paths):
    """For each file with several names: the names."""
    names = {}
    for path in sorted(paths):
        names.setdefault(id(paths[path]), []).append(path)
    return {names[0]: names for names in names.values() if len(names) > 1}


def line(path, node, first):
    """A path's line; `first` is the first name of the same file, where this is another."""
    if first is not None:
        return f"same {readable(path)} = {readable(first)}"
    words = [node.kind]
    if node.kind != "link":
        words.append(f"{node.mode:04o}")
    words += [f"{node.owner[0]}:{node.owner[1]}", readable(path)]
    if node.text:
        words.append(("-> " if node.kind == "link" else "") + node.text)
    words += [f"{name}={value.hex()}" for name, value in sorted(node.xattrs.items())]
    return " ".join(words)


def lines_of(paths):
    """Every path's line."""
    first = {}
    for names in hard_links(paths).values():
        first.update({name: names[0] for name in names[1:]})
    return {path: line(path, node, first.get(path)) for path, node in paths.items()}


def tree_text(layers, base_layers):
    """The canonical text of a file system, against the base's."""
    paths = file_system(layers)
    base = file_system(base_layers) if MARK in paths else {}
    ours, theirs = lines_of(paths), lines_of(base)
    out = ["on the base" if base else "on nothing"]
    for path in sorted(set(ours) | set(theirs)):
        if path not in ours:
            # What is below something that is gone needs no line of its own.
            parent = path.rpartition(b"/")[0]
            if not parent or parent in ours:
                out.append(f"gone {readable(path)}")
        elif ours[path] != theirs.get(path):
            out.append(ours[path])
    return "\n".join(out) + "\n"


def read_layout(directory):
    """The config and the layers of the one image in an OCI layout."""
    read = lambda descriptor: (directory / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    manifest = json.loads(read(json.loads((directory / "index.json").read_bytes())["manifests"][0]))
    return json.loads(read(manifest["config"])), [read(layer) for layer in manifest["layers"]]


def config_text(document, base_history):
    """The canonical text of an image's config, without the base's own history where the image has it."""
    config = document.get("config") or {}
    out = {name: config[name] for name in CONFIG_FIELDS if config.get(name)}
    if "Env" in out:
        # Their order has no meaning, and ours is that of their names where one instruction sets several.
        out["Env"] = sorted(out["Env"])
    health = out.get("Healthcheck")
    if health:
        out["Healthcheck"] = {key: value for key, value in health.items() if value}
    history = [entry.get("created_by", "") for entry in document.get("history") or []]
    if history[: len(base_history)] == base_history:
        history = history[len(base_history) :]
    out["architecture"] = document["architecture"]
    if document.get("author"):
        out["author"] = document["author"]
    out["history"] = history
    return json.dumps(out, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
