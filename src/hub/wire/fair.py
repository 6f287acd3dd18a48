"""Threads for calls, with a bounded queue in which institutions take turns.

Each institution has a line of its own, and a thread that is free takes the first call of the next one. Beyond the
common threads there is a spare one that only serves whom none serves: two long calls of one institution do not keep a
third institution waiting for their end. When the queue is full, whoever has most in it gives up its last place.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from hub.errors import BusyError

RETRY_AFTER_S = 0.5


class Waiting(NamedTuple):
    """A call that waits: since when, what does it, and what is told whoever waits for it where it must leave."""

    at: float
    work: Callable[[], None]
    refuse: Callable[[BusyError], None]


class Pool:
    """Threads that do calls; they start when they are first needed.

    Args:
        spare: threads beyond ``threads`` that serve only institutions which no thread serves.
        waiting_max: calls that may wait; more are BUSY.
    """

    def __init__(self, name: str, threads: int, waiting_max: int, *, spare: int = 1) -> None:
        self.name = name
        self._threads_common, self._threads_max, self._waiting_max = threads, threads + spare, waiting_max
        self._lines: dict[str, deque[Waiting]] = {}
        """Of each institution that waits; the first key has the next turn."""
        self._served: dict[str, int] = {}
        """How many threads serve each institution now."""
        self._waiting = self._working = self._idle = 0
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._changed = threading.Condition()
        """Held while any of these is read or changed."""

    def __repr__(self) -> str:
        return f"Pool({self.name}, waiting={self._waiting})"

    def submit(self, institution: str, work: Callable[[], None], refuse: Callable[[BusyError], None]) -> None:
        """Let a thread do it; neither may raise. ``refuse`` is called in the thread of another call's ``submit``.

        Raises:
            BusyError: too much waits, and nobody has more of it than this institution.
        """
        pushed: Waiting | None = None
        with self._changed:
            full = self._waiting + self._working >= self._threads_common + self._waiting_max
            if full and not self._may_begin(institution):
                pushed = self._push_out(institution)
            self._lines.setdefault(institution, deque()).append(Waiting(time.monotonic(), work, refuse))
            self._waiting += 1
            if self._idle:
                self._changed.notify()
            elif len(self._threads) < self._threads_max:
                self._start()
        if pushed is not None:
            pushed.refuse(_full())

    def _may_begin(self, institution: str) -> bool:
        """Whether the spare thread is free for it, so that it will not wait."""
        if institution in self._served or institution in self._lines:
            return False
        others = sum(other not in self._served for other in self._lines)
        return self._working + others < self._threads_max

    def _push_out(self, institution: str) -> Waiting:
        """Take the last place of whoever has most, for one who has less."""
        most = max(self._lines, key=lambda one: len(self._lines[one]), default=institution)
        line = self._lines.get(most, deque())
        if len(line) <= len(self._lines.get(institution, ())) + 1:
            raise _full()
        self._waiting -= 1
        return line.pop()

    def _start(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"hub-{self.name}-{number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (found := self._take()) is None:
                    if self._closing:
                        return
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                institution, one = found
                self._working += 1
                self._served[institution] = self._served.get(institution, 0) + 1
            try:
                one.work()
            finally:
                # Nothing of a call is kept while the thread waits for the next one.
                del one, found
                with self._changed:
                    self._working -= 1
                    self._served[institution] -= 1
                    if not self._served[institution]:
                        del self._served[institution]
                    # Whom none serves any more may now have the spare thread.
                    if self._idle and self._lines:
                        self._changed.notify()

    def _take(self) -> tuple[str, Waiting] | None:
        """The next call for this thread, in turn."""
        if self._closing:
            return None
        common = self._working < self._threads_common
        for institution in self._lines:
            if common or institution not in self._served:
                line = self._lines.pop(institution)
                one = line.popleft()
                if line:
                    # Behind the others.
                    self._lines[institution] = line
                self._waiting -= 1
                return institution, one
        return None

    def load(self) -> tuple[int, int, float]:
        """Calls that wait, that are being done, and for how many seconds the first one has waited."""
        with self._changed:
            since = min((line[0].at for line in self._lines.values()), default=None)
            return self._waiting, self._working, 0.0 if since is None else time.monotonic() - since

    def close(self) -> None:
        """Wait for what is being done; what has not begun by now has nobody who waits for it."""
        with self._changed:
            self._closing = True
            self._lines.clear()
            self._waiting = 0
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()


def _full() -> BusyError:
    return BusyError("call: too many wait for a thread", retry_after_s=RETRY_AFTER_S)
