"""The thread that sorts the log into the inboxes in the background of the writer, and lets permits lapse each day."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from hub.errors import HubError, StorageError
from hub.provision.deliver import Deliverer
from hub.store import Store

DELAY_S = 0.1
ROUND_S = 60.0
RETRY_S = 1.0

WORK_S = 0.0005
REST_OF = 9.0
"""Beside single inquiries the thread rests nine times as long as it worked, after each half a millisecond: it needs the
interpreter's lock, and whoever answers inquiries asks for that a hundred times a group. Of 12,000 a second the p99 is 5
to 15 ms with that, 11 to 16 with three times as long, 5 to 11 without the thread."""

HASTE_FROM = 1 << 23
"""Records behind the inboxes from which on it does not rest; the more there are, the less it does."""

logger = logging.getLogger("hub")


class Delivery:
    """The thread, and the lock under which steps are done.

    Attributes:
        error: what stopped it, or the last that it met, or None.
    """

    def __init__(self, store: Store, deliverer: Deliverer, each_day: Callable[[], object]) -> None:
        self.error: HubError | None = None
        self._store, self._deliverer, self._each_day = store, deliverer, each_day
        self._lock = threading.Lock()
        """Held by who does a step; taken before the writer's."""
        self._counting = threading.Lock()
        self._waiting = 0
        """Callers that sort in themselves: for them the thread hurries."""
        self._rest_of = REST_OF
        self._began = 0.0
        deliverer.rest = self._rest
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._woken.set()
        self._thread = threading.Thread(target=self._work, name="hub-deliver", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Delivery({'running' if self._thread.is_alive() else 'stopped'})"

    @property
    def alive(self) -> bool:
        """Whether it works, or waits for work; False once something has stopped it."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Say that records were added; takes less than a microsecond."""
        # It mostly is already: to look costs a tenth of setting it.
        if not self._woken.is_set():
            self._woken.set()

    def close(self) -> None:
        """Stop after the step under way; may be called again."""
        self._closing.set()
        self._woken.set()
        self._thread.join()

    def deliver(self, *, behind_max: int = 0) -> None:
        """Sort in the log until at most so many records are behind; by the caller itself.

        Raises:
            StorageError: a chunk is damaged, or the disk failed; the steps before stand.
        """
        # Asked before the lock is taken: who has nothing to sort in must not wait for the step that another one does.
        while self._deliverer.behind() > behind_max:
            with self._counting:
                self._waiting += 1
            try:
                with self._lock:
                    self._deliverer.step()
            finally:
                with self._counting:
                    self._waiting -= 1

    def _rest(self) -> None:
        """Let others have the interpreter, where somebody else needs it more."""
        worked = time.perf_counter() - self._began
        if worked < WORK_S:
            return
        if self._store.turns.hurried_lately() and self._rest_of and not (self._waiting or self._closing.is_set()):
            self._closing.wait(min(worked, 10 * WORK_S) * self._rest_of)
        self._began = time.perf_counter()

    def _work(self) -> None:
        while not self._closing.is_set():
            self._woken.wait(ROUND_S)
            if self._closing.wait(DELAY_S):
                return
            self._woken.clear()
            try:
                self._each_day()
                while not self._closing.is_set() and self._step():
                    pass
            except HubError as error:
                self.error = error
                if error.retry_safe and not self._store.broken:
                    logger.warning("inboxes: %s", error)
                    self._closing.wait(RETRY_S)
                    continue
                if not self._closing.is_set():
                    logger.error("inboxes: %s; sorting has stopped until the hub is opened again", error)
                return
            except Exception as error:
                self.error = StorageError(f"inboxes: expected to sort, failed with {type(error).__name__}")
                logger.error("inboxes: sorting has stopped until the hub is opened again", exc_info=True)
                return

    def _step(self) -> bool:
        with self._lock:
            self._rest_of = REST_OF * max(0.0, 1 - self._deliverer.behind() / HASTE_FROM)
            self._began = time.perf_counter()
            return self._deliverer.is_due() and self._deliverer.step()
