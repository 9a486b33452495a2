"""Builds the environments that runs on this host need: one thread, one build at a time."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from runs.domain.status import Status
from runs.execution import dependencies
from runs.execution.tree import MARK
from runs.models import Environment, EnvironmentBuild, Run
from runs.worker.places import Places
from runs.worker.slots import free_bytes

log = logging.getLogger(__name__)

LOOK_S = 1.0
LOG_BYTES = 64 * 1024
LOG_EVERY_S = 0.5


class Builder:
    """Looks for environments that are wanted here, and builds them. `on_built` is told."""

    def __init__(self, places: Places, *, worker_name: str, boot_id: str) -> None:
        self._places = places
        self._worker_name = worker_name
        self._boot_id = boot_id
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="builder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End a build under way (it is begun again later) and the thread."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _loop(self) -> None:
        failing = False
        first = True
        while not self._over.wait(0 if first else LOOK_S):
            try:
                if first:
                    self._take_up_former_builds()
                    first = False
                while not self._over.is_set() and (build := self._next()) is not None:
                    self._build(build)
                failing = False
            except Exception as error:  # a dead builder would hold every run that needs one
                if not failing:
                    known = isinstance(error, DatabaseError)
                    words = "no environment is built, the database is away: %s"
                    log.warning(words, error, exc_info=None if known else error)
                failing = True
                connection.close()
        connection.close()

    def _take_up_former_builds(self) -> None:
        """What a former boot of this worker did not finish is to be built again."""
        EnvironmentBuild.objects.filter(
            host=self._places.host,
            state=EnvironmentBuild.BUILDING,
            worker_name=self._worker_name,
        ).exclude(boot_id=self._boot_id).update(state=EnvironmentBuild.WAITING)

    def _next(self) -> EnvironmentBuild | None:
        """Take the next build for this host, if any; it is then `building` and ours."""
        self._adopt()
        self._want()
        if free_bytes() < settings.RUNSITE_FREE_SPACE:
            return None  # it would fail for the disk, and its runs with it; the page says why
        build = (
            EnvironmentBuild.objects.filter(host=self._places.host, state=EnvironmentBuild.WAITING)
            .select_related("environment")
            .order_by("id")
            .first()
        )
        if build is None:
            return None
        taken = EnvironmentBuild.objects.filter(pk=build.pk, state=EnvironmentBuild.WAITING).update(
            state=EnvironmentBuild.BUILDING,
            worker_name=self._worker_name,
            boot_id=self._boot_id,
            started_at=timezone.now(),
            ended_at=None,
            error="",
            log="",
        )
        return build if taken else None

    def _adopt(self) -> None:
        """Take over a build that was asked for without naming a host."""
        asked = EnvironmentBuild.objects.filter(host="", state=EnvironmentBuild.WAITING).first()
        if asked is None:
            return
        here = EnvironmentBuild.objects.filter(
            environment_id=asked.environment_id, host=self._places.host
        )
        if here.exists():
            asked.delete()
            return
        try:
            with transaction.atomic():
                EnvironmentBuild.objects.filter(pk=asked.pk, host="").update(host=self._places.host)
        except IntegrityError:
            log.debug("environment %s is taken care of already", asked.environment_id)

    def _want(self) -> None:
        """Ask for the environments of runs that wait and that this host has not built."""
        waiting = Run.objects.filter(lane__environment=OuterRef("pk"), status=Status.QUEUED)
        here = EnvironmentBuild.objects.filter(environment=OuterRef("pk"), host=self._places.host)
        wanted = Environment.objects.filter(Exists(waiting), ~Exists(here))
        for environment in wanted[:20]:
            EnvironmentBuild.objects.get_or_create(environment=environment, host=self._places.host)

    def _build(self, build: EnvironmentBuild) -> None:
        environment = build.environment
        writer = _BuildLog(build.pk)
        error = ""
        try:
            installer_env = {
                **settings.RUNSITE_INSTALLER_ENV,
                MARK: self._places.boot(self._boot_id) + "build",
            }
            uv = dependencies.find_uv()
            chosen = dependencies.find_interpreter(
                environment.python_version, uv=uv, environ=installer_env
            )
            if chosen.warning:
                writer.write(f"{chosen.warning}\n".encode())
            dependencies.build_environment(
                self._places.environments / environment.key,
                requirements=tuple(environment.requirements),
                python=chosen.path,
                log=writer.write,
                time_limit_s=settings.RUNSITE_BUILD_LIMIT_S,
                should_stop=self._over.is_set,
                cache_dir=self._places.cache,
                uv=uv,
                extra_env=installer_env,
            )
        except dependencies.BuildFailed as failed:
            if self._over.is_set():
                self._close(build, EnvironmentBuild.WAITING, writer, "")
                return
            error = str(failed)
        except OSError as failed:
            error = f"The environment could not be written: {failed.strerror or failed}."
        except Exception as failed:
            log.exception("environment %s: building it broke off", environment.key)
            error = f"Runsite itself failed ({type(failed).__name__}). Its log says more."
        state = EnvironmentBuild.FAILED if error else EnvironmentBuild.READY
        self._close(build, state, writer, error)

    def _close(self, build: EnvironmentBuild, state: str, writer: _BuildLog, error: str) -> None:
        """Write down how it ended, as soon as the database answers."""
        while True:
            try:
                EnvironmentBuild.objects.filter(
                    pk=build.pk, state=EnvironmentBuild.BUILDING, boot_id=self._boot_id
                ).update(state=state, error=error, log=writer.text(), ended_at=timezone.now())
                return
            except DatabaseError:
                connection.close()
                if self._over.wait(LOOK_S):
                    return  # the next boot takes it up


class _BuildLog:
    """Keeps the newest of what the installer prints, and shows it now and then."""

    def __init__(self, build_pk: int) -> None:
        self._build_pk = build_pk
        self._data = bytearray()
        self._shown = 0.0

    def write(self, data: bytes) -> None:
        """Take a piece of what the installer printed."""
        self._data += data
        if len(self._data) > 2 * LOG_BYTES:
            del self._data[:-LOG_BYTES]
        if time.monotonic() - self._shown < LOG_EVERY_S:
            return
        self._shown = time.monotonic()
        try:
            EnvironmentBuild.objects.filter(pk=self._build_pk).update(log=self.text())
        except DatabaseError:
            connection.close()  # the end of the build writes it all

    def text(self) -> str:
        """The newest 64 KiB as text."""
        return bytes(self._data[-LOG_BYTES:]).decode("utf-8", "replace").replace("\x00", "�")


def environment_path(places: Places, key: str) -> Path:
    """Where the environment with this key is on this host, built or not."""
    return places.environments / key
