"""Ends the run where a fault made the hub wait for ever, with the stacks of all threads.

What counts is not how long a test takes, which is the machine's business, but how long nothing of it moves: each
fault, kill or state that a test comes to says so by ``moves``.
"""

from __future__ import annotations

import faulthandler

TEST_S_MAX, STEP_S_MAX = 240, 120
"""For how long a test may come to nothing new: from its begin, and from a fault on."""

_terminal: int | None = None


def begin(terminal: int) -> None:
    """Watch a test; stacks go to this descriptor."""
    global _terminal
    _terminal = terminal
    faulthandler.dump_traceback_later(TEST_S_MAX, exit=True, file=terminal)


def moves() -> None:
    """A test came to its next fault: its time begins anew. Nothing outside of a test."""
    if _terminal is not None:
        faulthandler.dump_traceback_later(STEP_S_MAX, exit=True, file=_terminal)


def end() -> None:
    """The test is over."""
    global _terminal
    _terminal = None
    faulthandler.cancel_dump_traceback_later()
