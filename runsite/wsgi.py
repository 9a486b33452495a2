"""The WSGI application that granian serves."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from runsite.parent_watch import watch_parent
from runsite.refused_bodies import MOST_AT_ONCE, ReadRefusedBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "runsite.settings")

_wsgi = get_wsgi_application()
application = ReadRefusedBodies(
    _wsgi, most_at_once=min(MOST_AT_ONCE, settings.RUNSITE_WEB_THREADS // 2)
)
watch_parent()
