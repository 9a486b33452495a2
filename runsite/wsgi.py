"""The WSGI application that granian serves."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from runsite.parent_watch import watch_parent
from runsite.refused_bodies import ReadRefusedBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "runsite.settings")

application = ReadRefusedBodies(get_wsgi_application())
watch_parent()
