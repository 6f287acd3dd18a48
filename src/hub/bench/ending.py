"""How a run of the bench ends: well, interrupted, or because it could not go on; what was measured is shown anyway."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from hub.bench.report import Progress
from hub.errors import HubError

OK, FOUND, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: 1 where an answer was wrong or the run could not go on."""


class Interrupts:
    """Ctrl-C, SIGTERM and a closed terminal end a run in one way, so that folders and servers go and results stay.

    ``KeyboardInterrupt`` is raised wherever the main thread is, also in a library's callback that swallows it: whoever
    works for long looks again, and meets it there. What was ignored before (``nohup``) stays ignored.
    """

    def __init__(self) -> None:
        self.met = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._meet)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def look(self) -> None:
        """Raise it once more where there was one."""
        if self.met:
            raise KeyboardInterrupt

    def _meet(self, number: int, frame: FrameType | None) -> None:
        self.met = True
        raise KeyboardInterrupt


def run_to_end(tool: str, done: str, progress: Progress, work: Callable[[], object]) -> int:
    """Do what is to be measured; the exit status so far.

    Args:
        tool, done: of the one line on stderr where it does not end well: ``nation``, ``inquiries``.
    """
    try:
        work()
    except KeyboardInterrupt:
        status, how = INTERRUPTED, "interrupted"
    except (HubError, OSError, MemoryError) as error:
        status, how = FOUND, f"stopped: {cause_of(error)}"
    else:
        return OK
    progress.clear()
    print(f"{tool}: {how}{':' if status == INTERRUPTED else ';'} these are the {done} that were done", file=sys.stderr)
    return status


def cause_of(error: Exception) -> str:
    """Why something could not go on, for people."""
    return str(error) if isinstance(error, HubError) else getattr(error, "strerror", None) or "out of memory"
