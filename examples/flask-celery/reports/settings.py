"""Where tasks and results are kept: files in a directory that both containers have, or whatever the two URLs name (Redis, say)."""

import os
from pathlib import Path

DIRECTORY = Path(os.environ.get("REPORTS_DIRECTORY", "/var/lib/reports"))
BROKER_URL = os.environ.get("CELERY_BROKER_URL", "filesystem://")
RESULT_BACKEND = os.environ.get("CELERY_RESULT_BACKEND", f"file://{DIRECTORY}/results")
ALIVE = Path(os.environ.get("WORKER_ALIVE_FILE", "/tmp/worker-alive"))

TRANSPORT_OPTIONS = {}
if BROKER_URL == "filesystem://":
    TRANSPORT_OPTIONS = {
        "data_folder_in": str(DIRECTORY / "queue"),
        "data_folder_out": str(DIRECTORY / "queue"),
        "control_folder": str(DIRECTORY / "control"),
        # Within one file system, so that taking a message is one rename.
        "processed_folder": str(DIRECTORY / "processed"),
        "store_processed": True,
    }


def make_directories():
    for name in ("queue", "control", "processed", "results"):
        (DIRECTORY / name).mkdir(parents=True, exist_ok=True)
