"""Who goes first to the writer's lock: small inquiries, before whatever else waits for it.

Python's locks have no order: whoever lets go and asks again at once may get it again, and of several that wait any may
be next. Beside a large inquiry three threads write (its chunks, the history index, the inboxes), tens of milliseconds
each; a small inquiry is to wait for the one that holds the lock now, and for no other.

So all but the small ones queue at a lock in front: at most one of them stands at the writer's own, not while a small
one stands there. Small ones do not starve the others: between two of their commits they form a group.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

PASS_S = 1.0
"""Whoever gives way waits no longer, whatever became of the other."""

LATELY_S = 5.0

REST_OF = 3.0
REST_EACH_S = 0.005
"""Behind a chunk of bulk its thread rests 5 ms for each small commit that came meanwhile, at most three times as long
as the chunk took: what is asked singly needs the processors more, and bulk always gets on."""

PIECE_REST_S = 0.0003
"""Behind a piece of long work, some 0.1 ms: a thread that holds the interpreter's lock lets others have it after 0.2 ms
each time they ask, and whoever answers small inquiries asks for it several times a row."""


def no_rest() -> None:
    """Where nobody is to be given way to."""


class Turns:
    """The writer's lock, and the order of those who wait for it. Used by any thread.

    Attributes:
        writer: the lock itself; may be taken directly too, then in no order. hurries: how many small ones came so far.
    """

    def __init__(self) -> None:
        self.writer = threading.RLock()
        self._others = threading.Lock()
        """Held by an ordinary commit, taken before ``writer``: never by a thread that holds that already."""
        self._hurrying = False
        """Whether a small one waits; set by that thread, read by the one that holds ``_others``."""
        self._passed = threading.Event()
        self._hurried_at = -LATELY_S
        self.hurries = 0

    def __repr__(self) -> str:
        return f"Turns(hurrying={self._hurrying})"

    def hurried_lately(self) -> bool:
        """Whether somebody hurried in the last seconds, and may come again."""
        return time.monotonic() - self._hurried_at < LATELY_S

    def give_room(self, worked: float, hurries: int) -> None:
        """Rest behind a chunk of bulk; to be called with no lock held.

        Args:
            worked: seconds that the chunk took. hurries: of before the chunk.
        """
        came = self.hurries - hurries
        if came > 0:
            time.sleep(min(REST_OF * worked, REST_EACH_S * came))

    def give_way(self) -> None:
        """Rest behind a piece of long work where small ones came lately; to be called with no lock held."""
        if self.hurried_lately():
            time.sleep(PIECE_REST_S)

    @contextlib.contextmanager
    def hurried(self) -> Iterator[None]:
        """Hold the writer's lock, before all others; by one thread at a time."""
        self._passed.clear()
        self._hurrying = True
        self._hurried_at = time.monotonic()
        self.hurries += 1
        try:
            with self.writer:
                self._pass()
                yield
        finally:
            self._pass()

    def _pass(self) -> None:
        self._hurrying = False
        self._passed.set()

    @contextlib.contextmanager
    def ordinary(self) -> Iterator[None]:
        """Hold the writer's lock, in turn."""
        if self.writer._is_owned():  # type: ignore[attr-defined]
            with self.writer:
                yield
            return
        with self._others:
            if self._hurrying:
                self._passed.wait(PASS_S)
            with self.writer:
                yield
