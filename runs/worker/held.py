"""A run that this worker conducts: what is wanted of it, and whether its thread shows life."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from runs.domain.masking import Masker
from runs.execution.spec import Stop
from runs.queue.claim import Claimed

STUCK_S = 15.0
"""A run whose thread showed no life for this long is not renewed, so the reaper takes it."""

_WEIGHT = {
    None: 0,
    Stop.KEEP: 1,
    Stop.WORKER_STOP: 2,
    Stop.DISK_FAILED: 3,
    Stop.LOG_LIMIT: 4,
    Stop.CANCEL: 5,
    Stop.KILL: 6,
}
"""Who wants a run ended for more wins over who wants it ended for less."""


@dataclass(eq=False)
class Held:
    """A run that this worker conducts."""

    claimed: Claimed
    stop: Stop | None = None
    lost: bool = False
    ticked: float = field(default_factory=time.monotonic)
    masker: Masker = field(default_factory=Masker, repr=False)
    """Knows the secrets that the run was given; what is written of it goes through this."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def slots(self) -> int:
        """How many slots of the worker it takes."""
        return self.claimed.run.slots

    def ask(self, stop: Stop) -> None:
        """Have the run ended, unless it is to be ended for a stronger reason already."""
        with self._lock:
            if _WEIGHT[stop] > _WEIGHT[self.stop]:
                self.stop = stop

    def tick(self) -> None:
        """Show life; the heartbeat renews only what has shown some lately."""
        self.ticked = time.monotonic()

    def allow(self, seconds: float) -> None:
        """Count as alive for so long: the next step cannot show life while it goes on."""
        self.ticked = max(self.ticked, time.monotonic() + seconds - STUCK_S)

    def should_stop(self) -> Stop | None:
        """What the execution asks all the time."""
        self.tick()
        return self.stop
