"""In: two OCI layouts with an image each. Out: 0 where they are the same, else 1 and what differs.

    python3 same.py LAYOUT LAYOUT            file system and config; times, histories and the boundaries of layers may differ
    python3 same.py --exact LAYOUT LAYOUT    the layers, byte for byte, and all of the config, history and all
"""

import json
import sys
from pathlib import Path

import canonical
from cases import difference


def alike(one, other):
    """What is not the same in file system and config."""
    images = [canonical.read_layout(layout) for layout in (one, other)]
    below, shared = {}, 0
    for first, second in zip(*(layers for _, layers in images)):
        if first != second:
            break
        canonical.apply_layer(below, first)
        shared += 1
    return difference(*(text(document, below, layers[shared:]) for document, layers in images))


def text(document, below, layers):
    """An image as text, from the file system below some of its layers."""
    paths = dict(below)
    for layer in layers:
        canonical.apply_layer(paths, layer)
    paths.pop(b"/", None)
    lines = canonical.lines_of(paths)
    files = "".join(lines[path] + "\n" for path in sorted(lines))
    return files + canonical.config_text({**document, "history": []}, [])


def exactly(one, other):
    """What is not the same in layers and config."""
    return difference(documents(one), documents(other))


def documents(layout):
    """What an image consists of, by digest, and its config, as text."""
    read = lambda descriptor: json.loads((layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes())
    manifest = read(json.loads((layout / "index.json").read_bytes())["manifests"][0])
    return json.dumps([manifest, read(manifest["config"])], indent=1, sort_keys=True)


def main():
    words = sys.argv[1:]
    compare = alike
    if words[0] == "--exact":
        compare, words = exactly, words[1:]
    lines = compare(*map(Path, words))
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
