from .base import *  # noqa: F403
from .base import STORAGES

DEBUG = True
SECRET_KEY = "for a developer's own machine only"
ALLOWED_HOSTS = ["*"]
INTERNAL_IPS = ["127.0.0.1"]

STORAGES = {**STORAGES, "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
