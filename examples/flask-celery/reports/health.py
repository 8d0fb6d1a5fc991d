"""The healthcheck of both images: `python -m reports.health web` or `… worker`; exit code 0 means well."""

import os
import sys
import time
from urllib.request import urlopen

from . import settings


def web() -> str | None:
    port = os.environ.get("PORT", "8000")
    with urlopen(f"http://127.0.0.1:{port}/health", timeout=3) as answer:
        return None if answer.status == 200 else f"status {answer.status}"


def worker() -> str | None:
    age = time.time() - settings.ALIVE.stat().st_mtime
    return None if age < 15 else f"no sign of life for {age:.0f} seconds"


try:
    trouble = {"web": web, "worker": worker}[sys.argv[1]]()
except OSError as error:
    trouble = str(error)
sys.exit(trouble)
