"""The Celery app: its messages are nudges only, the work stands in the database."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from celery import Celery
from celery.signals import celeryd_init
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "runsite.settings")
# Celery has Django's checks made in each worker and throws away what they say. They load all pages
# and the whole API, 30 MB that a worker has no use for.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")
TRANSPORT_ALIASES["folder"] = "runsite.folder_broker:Transport"

app = Celery("runsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["runs"])


@celeryd_init.connect  # type: ignore[untyped-decorator]  # celery has no types
def _install_worker(**_: Any) -> None:  # Celery hands over what it likes
    """Hook our worker into Celery's, before its steps are put together.

    Here and not above: a web process must not load the worker.
    """
    import django

    django.setup()
    # By name: the floors of `runs` end at their doors, and this module is below them all.
    import_module("runs.tasks").install_worker(app)
