"""The thread that merges the history index in the background of the writer, step by step (``merge.py``)."""

from __future__ import annotations

import logging
import threading
import time

from hub.errors import HubError, StorageError
from hub.runs.directory import Known
from hub.runs.merge import STEP_BYTES, do_step
from hub.store import Store

DELAY_S = 0.03
RETRY_S = 1.0

REST_OF, REST_MAX_S = 3.0, 0.05
"""Beside single inquiries it rests three times as long as a step took: whoever answers them needs the interpreter's
lock a hundred times a group. Of 25,000 a second it needs 4 % of that lock."""

logger = logging.getLogger("hub")


class Merger:
    """The thread that merges in the background of the writer.

    Attributes:
        error: what stopped it, or the last that it met, or None.
    """

    def __init__(self, store: Store, *, bytes_max: int = STEP_BYTES) -> None:
        self.error: HubError | None = None
        self._store = store
        self._bytes_max = bytes_max
        self._known: Known = {}
        self._failed: set[int] = set()
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._working = False
        self._took = 0.0
        self._thread = threading.Thread(target=self._work, name="hub-runs", daemon=True)
        # A merge may have been under way when the folder was closed.
        self._woken.set()
        self._thread.start()

    def __repr__(self) -> str:
        return f"Merger({'waiting' if self.idle else 'working' if self._thread.is_alive() else 'stopped'})"

    @property
    def idle(self) -> bool:
        """Whether it waits to be woken: nothing was due when it last looked, and nothing was added since."""
        return not self._working and not self._woken.is_set()

    @property
    def alive(self) -> bool:
        """Whether it works, or waits for work; False once something has stopped it."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Say that runs were added; to be called after their commit. Takes less than a microsecond."""
        # It mostly is already: to look costs a tenth of setting it.
        if not self._woken.is_set():
            self._woken.set()

    def close(self) -> None:
        """Stop after the step under way; to be called before the store is closed. May be called again."""
        self._closing.set()
        self._woken.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._working = False
            self._woken.wait()
            # Before the event is cleared: whoever asks in between must not take it for idle.
            self._working = True
            # The commits of this time are looked at together: reading the directory costs as much as an inquiry.
            if self._closing.wait(DELAY_S):
                return
            self._woken.clear()
            while not self._closing.is_set() and self._try():
                pass
        self._working = False

    def _try(self) -> bool:
        """One step; whether another one is worth trying."""
        failed = len(self._failed)
        if self._store.turns.hurried_lately():
            self._closing.wait(min(REST_OF * self._took, REST_MAX_S))
        began = time.perf_counter()
        try:
            more = do_step(self._store, self._bytes_max, self._known, self._failed)
            self._took = time.perf_counter() - began
            return more
        except HubError as error:
            self.error = error
            if len(self._failed) > failed:
                logger.error("history index: %s; its period is merged no more until the hub is opened again", error)
                return True
            if error.retry_safe and not self._store.broken:
                logger.warning("history index: %s", error)
                return not self._closing.wait(RETRY_S)
            if not self._closing.is_set():
                logger.error("history index: %s; merging has stopped until the hub is opened again", error)
            self._closing.set()
        except Exception as error:
            self.error = StorageError(f"history index: expected to merge, failed with {type(error).__name__}")
            logger.error("history index: merging has stopped until the hub is opened again", exc_info=True)
            self._closing.set()
        return False
