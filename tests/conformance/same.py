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
    return difference(text(one), text(other))


def text(layout):
    """An image as text."""
    document, layers = canonical.read_layout(layout)
    return canonical.tree_text(layers, []) + canonical.config_text({**document, "history": []}, [])


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
