"""In: two OCI layouts with an image each. Out: 0 where file system and config are the same, else 1 and what differs.

    python3 same.py LAYOUT LAYOUT

Times and histories may differ.
"""

import json
import sys
from pathlib import Path

import canonical
from cases import difference


def texts(layout):
    """An image as text."""
    document, layers = canonical.read_layout(Path(layout))
    config = json.loads(canonical.config_text({**document, "history": []}, []))
    return canonical.tree_text(layers, []) + json.dumps(config, indent=2, sort_keys=True) + "\n"


def main():
    one, other = (texts(layout) for layout in sys.argv[1:3])
    lines = difference(one, other)
    for line in lines:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
