"""Whether a world may grow to its next size within the minutes that a run was given.

What the next size takes is told from the last one: its growth by rows, its measuring as it was. Both are taken somewhat
dearer than they were: growth slows down as tables leave the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SLOWER = 1.3
MINUTES_MOST = 24 * 60


class Pace:
    """The clock of one half of a run.

    Args:
        seconds: for this half, from now on; None: as long as it takes. now: a clock in seconds.
    """

    def __init__(self, seconds: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._given = seconds
        self._end = None if seconds is None else now() + seconds
        self._per_row = self._measuring = 0.0
        self._at = now()
        self._rows = 0

    def lacks(self, rows: int) -> str | None:
        """Why there is no time to grow by so many rows and to measure, or None; the first size is always done."""
        if self._end is None or self._given is None or not self._per_row:
            return None
        needed = SLOWER * (rows * self._per_row + self._measuring)
        left = self._end - self._now()
        if needed <= left:
            return None
        return f"about {needed:.0f} s more are needed, {max(0.0, left):.0f} of the {self._given:.0f} s for it are left"

    def __repr__(self) -> str:
        return f"Pace(seconds={self._given})"

    def growing(self, rows: int) -> None:
        """Growth by so many rows begins."""
        self._at, self._rows = self._now(), rows

    def grown(self) -> None:
        """It is done; measuring begins."""
        at = self._now()
        if self._rows:
            self._per_row = (at - self._at) / self._rows
        self._at = at

    def measured(self) -> None:
        """Measuring is done."""
        self._measuring = self._now() - self._at


def reach(done: int, wanted: int, lacks: Callable[[int], str | None]) -> tuple[int, str]:
    """(the size to grow to, why it is not the wanted one or ""): the wanted one, or as many tenths of it as can be.

    Args:
        done: the size that is reached; less than a tenth more than that is not worth a point, and gives 0.
        lacks: why a size cannot be reached, or None.
    """
    why = lacks(wanted)
    if why is None:
        return wanted, ""
    tenths = (wanted * part // 10 for part in range(9, 0, -1))
    return next((size for size in tenths if size >= done * 1.1 and lacks(size) is None), 0), why
