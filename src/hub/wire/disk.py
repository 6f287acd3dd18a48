"""A disk that fills up: what writes is BUSY, what reads goes on.

Below ``free_bytes_min`` no writing call is begun, so that the log's head, the security log and whoever makes room have
some left. Where there is less than that nevertheless, a step of a call that finds none is undone by the store
(``FullError``), and its caller reads BUSY as well: the same request id succeeds as soon as there is room.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from hub.errors import BusyError, FullError

RETRY_AFTER_S = 2.0
"""Nobody knows when there will be room; a server looks every second."""

QUIET_S = 10.0
"""After so long without a call that found none there is room again, for all that anybody knows."""

logger = logging.getLogger("hub")


class Disk:
    """What a server knows of its disk. For the loop's thread.

    Attributes:
        low: whether there is too little room to begin what writes. met: how many calls found none.
    """

    def __init__(self, free: Callable[[], int], free_bytes_min: int) -> None:
        self._free, self._free_min = free, free_bytes_min
        self.low, self.met = False, 0
        self._told, self._met_at = False, 0.0

    def __repr__(self) -> str:
        return f"Disk(low={self.low})"

    def look(self) -> None:
        """Find out how much room there is; called every second."""
        try:
            free = self._free()
        except OSError:
            # What it says about itself is no reason to stop; what it does is.
            return
        low = free < self._free_min
        if low and not self.low:
            self._tell("disk low: writing calls are BUSY until there is room", free)
        elif not low and (self.low or (self._told and time.monotonic() - self._met_at > QUIET_S)):
            self._told = False
            logger.warning("disk: there is room again", extra={"fields": {"free_bytes": free}})
        self.low = low

    def check(self) -> None:
        """Refuse a call that writes.

        Raises:
            BusyError: there is too little room.
        """
        if self.low:
            self.met += 1
            raise BusyError("disk: too little room to write, nothing was changed", retry_after_s=RETRY_AFTER_S)

    def translate(self, error: BaseException) -> BaseException:
        """What the caller reads of an error: where there was no room, that it is to come again."""
        if not isinstance(error, FullError):
            return error
        self.met += 1
        if not self._told and not self.low:
            self._tell("disk full: a step found no room and was undone", None)
        self._told, self._met_at = True, time.monotonic()
        return BusyError(str(error), retry_after_s=RETRY_AFTER_S)

    def _tell(self, what: str, free: int | None) -> None:
        logger.error(what, extra={"fields": {} if free is None else {"free_bytes": free}})
