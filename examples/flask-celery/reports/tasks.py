import re
from collections import Counter

from celery import Celery, bootsteps

from . import settings

settings.make_directories()

queue = Celery("reports", broker=settings.BROKER_URL, backend=settings.RESULT_BACKEND)
queue.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options=settings.TRANSPORT_OPTIONS,
    task_track_started=True,
    # Messages between workers are of no use to a single one.
    worker_enable_remote_control=False,
)


class Alive(bootsteps.StartStopStep):
    """Touches a file while the worker's loop goes round; the healthcheck looks at its age."""

    requires = {"celery.worker.components:Timer"}

    def __init__(self, parent, **options):
        super().__init__(parent, **options)
        self.timer = None

    def start(self, parent):
        settings.ALIVE.touch()
        self.timer = parent.timer.call_repeatedly(2.0, settings.ALIVE.touch, priority=10)

    def stop(self, parent):
        if self.timer:
            self.timer.cancel()
        settings.ALIVE.unlink(missing_ok=True)


queue.steps["worker"].add(Alive)


@queue.task
def report(text: str) -> dict:
    words = re.findall(r"[\w'-]+", text.lower())
    return {
        "characters": len(text),
        "words": len(words),
        "most_common": Counter(words).most_common(3),
    }
