"""The process manager: supervisor without its sockets, with words for who stops it."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from supervisor.medusa import asyncore_25 as asyncore
from supervisor.options import ServerOptions
from supervisor.states import SupervisorStates
from supervisor.supervisord import Supervisor


class Manager(Supervisor):  # type: ignore[misc]  # supervisor has no types
    """Restarts what died; on SIGTERM or Ctrl-C ends everything, in groups."""

    _told = False

    def runforever(self) -> None:
        """Start the programs at once; supervisor itself would look around for a second first."""
        for group in self.process_groups.values():
            group.transition()
        super().runforever()

    def ordered_stop_groups_phase_1(self) -> None:
        """Say once that the end has begun: runs may take their grace."""
        if not self._told:
            self._told = True
            _say("Stopping: runs under way are ended and given back to the queue …")
        super().ordered_stop_groups_phase_1()


def main(arguments: list[str]) -> int:
    """Manage the programs of the configuration until told to stop; the exit code."""
    options: Any = ServerOptions()
    options.realize(arguments, doc=__doc__)
    options.first = True
    options.test = False
    manager = Manager(options)
    with contextlib.suppress(asyncore.ExitNow):
        manager.main()
    if options.mood < SupervisorStates.RUNNING:
        _say("Stopped.")
    return 0


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # whoever started us may have closed the terminal
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
