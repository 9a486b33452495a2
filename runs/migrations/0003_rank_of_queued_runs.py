"""Gives the runs that wait their place in the new order."""

from django.db import migrations
from django.db.models import F


def rank_queued_runs(apps, schema_editor):
    runs = apps.get_model("runs", "Run").objects.filter(status="queued")
    runs.update(rank=F("priority") * 2)


class Migration(migrations.Migration):

    dependencies = [
        ("runs", "0002_limits_and_waits"),
    ]

    operations = [
        migrations.RunPython(rank_queued_runs, migrations.RunPython.noop, elidable=True),
    ]
