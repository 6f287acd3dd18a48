"""Clocks of a burst, and how its answers are held against the model's.

It runs in either side's worker, as do ``people``, ``stages``, ``wire`` and ``limits``; nothing of the hub is imported.
"""

from __future__ import annotations

import contextlib
import glob
import time
from collections.abc import Callable, Sequence
from typing import Any

Seconds = tuple[float, float]
"""By the wall's clock, less what threads stood in line for a processor; and of processors, by all threads."""

Burst = Callable[[], tuple[Seconds, Callable[[], None]]]
"""Runs a stage once; the seconds that it took, and the check of its answers."""

Prepared = tuple[int, Burst]
"""Rows of a burst, and the burst."""

CALM_S, CALM_SECONDS_MAX = 0.005, 3.0
"""A process is calm that worked for less than a tenth of so long; and for how long that is waited for."""


class Wrong(Exception):
    """An answer differed from the model's."""


class Lacks(Exception):
    """This side cannot run the stage."""


def expect(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise Wrong(f"{what}: expected the model's, got another")


def accounts(pids: Sequence[int] = ()) -> tuple[float, float]:
    """Seconds that all threads of some processes ran, and stood in line for a processor; zeros where no kernel tells.

    Args:
        pids: of the processes; none: this one.
    """
    ran = lined = 0
    for pid in pids or ("self",):
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                words = file.read().split()
                ran, lined = ran + int(words[0]), lined + int(words[1])
    return ran * 1e-9, lined * 1e-9


def timed(call: Callable[[], Any], repeats: int = 1, *, beside: int | None = None) -> tuple[Seconds, list[Any]]:
    """Seconds of some calls, and what they answered.

    Args:
        beside: a process that answers them: its time counts too, with what it does behind its last answer.
    """
    others = () if beside is None else (beside,)
    (_, lined), other = accounts(), accounts(others) if others else (0.0, 0.0)
    cpu, wall = time.process_time(), time.perf_counter()
    answers = [call() for _ in range(repeats)]
    passed, used = time.perf_counter() - wall, time.process_time() - cpu
    waited = accounts()[1] - lined
    if others:
        now = accounts(others)
        waited += now[1] - other[1]
        meanwhile = used + now[0] - other[0]
        calm(others)
        used += accounts(others)[0] - other[0]
    else:
        meanwhile = used
    # A thread that nobody waits for stands in line as well, and some of it may lie before the clock was read: never
    # less than was worked, so that what is taken off is others' doing at most.
    return (max(passed - waited, min(passed, meanwhile)), used), answers


def calm(pids: Sequence[int]) -> None:
    """Wait until some processes work no more, so that they disturb no burst of the other side."""
    end, before = time.monotonic() + CALM_SECONDS_MAX, accounts(pids)[0]
    while time.monotonic() < end:
        time.sleep(CALM_S)
        now = accounts(pids)[0]
        if now - before < CALM_S / 10:
            return
        before = now
