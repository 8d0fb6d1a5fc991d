"""In: sizes. Out: build contexts, the same ones each time."""

import os
import random
import shutil
from pathlib import Path

WORDS = (
    "keel stem stern rib plank strake garboard sheer gunwale thwart transom rudder tiller mast boom gaff halyard sheet cleat fairlead "
    "def return import self None True False class for while if else elif try except raise with as lambda yield pass assert"
).split()


def text(random_numbers, size):
    """Text that compresses about as source code does."""
    words = []
    left = size
    while left > 0:
        word = random_numbers.choice(WORDS) if random_numbers.random() < 0.8 else f"{random_numbers.getrandbits(24):x}"
        words.append(word)
        left -= len(word) + 1
    return " ".join(words).encode()[:size]


def small_files(directory, count, seed=1):
    """`count` files of 0.5 to 12 KiB, a hundred to a directory."""
    numbers = random.Random(seed)
    # Slices of one long text: making each anew would take minutes.
    pool = text(numbers, 1 << 20)
    for at in range(count):
        if at % 100 == 0:
            place = Path(directory) / f"{at // 10000:02}" / f"{at // 100 % 100:02}"
            place.mkdir(parents=True, exist_ok=True)
        size = numbers.randrange(512, 12 << 10)
        start = numbers.randrange(len(pool) - size)
        (place / f"file-{at}.py").write_bytes(b"%d\n" % at + pool[start : start + size])


def large_file(path, size, seed=2):
    """A file of which half is text and half is noise, in pieces of 1 MiB."""
    numbers = random.Random(seed)
    pool = text(numbers, 8 << 20)
    with open(path, "wb") as out:
        for at in range(0, size, 1 << 20):
            piece = min(1 << 20, size - at)
            if at >> 20 & 1:
                out.write(numbers.randbytes(piece))
            else:
                start = numbers.randrange(len(pool) - (1 << 20))
                out.write(pool[start : start + piece])


def copy_of(source, target):
    """A copy of a directory with the modes of a usual checkout."""
    shutil.copytree(source, target, symlinks=True)
    for place, _, files in os.walk(target):
        os.chmod(place, 0o755)
        for name in files:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)
    return Path(target)


def edit(path, mark):
    """One line more at the end."""
    with open(path, "a") as file:
        file.write(f"# {mark}\n")
