"""How two citizens find each other without an alias leaving the portal: one shows a number, the other types it in.

The agent asks for a number and tells it to the person, who grants the proxy with it. It is good once and for minutes,
and whoever guesses is stopped after a few. All of it is in this process's memory, used in the loop's thread only.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable

DIGITS = 10
GOOD_S = 600.0
TRIES = 5
"""Wrong numbers of one person until they must wait."""
INVITATIONS_MAX = 20_000
"""With so many open, one guess finds somebody's once in 500,000 times, and five are let through."""


class Invitations:
    """Numbers that wait to be typed in."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._open: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._wrong: OrderedDict[bytes, tuple[int, float]] = OrderedDict()

    def __repr__(self) -> str:
        return f"Invitations({len(self._open)})"

    def make(self, alias: bytes) -> str:
        """A number for an agent; an earlier one of theirs is good no more."""
        self._drop_old()
        for number, (owner, _) in list(self._open.items()):
            if owner == alias:
                del self._open[number]
        while len(self._open) >= INVITATIONS_MAX:
            self._open.popitem(last=False)
        number = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"
        self._open[number] = alias, self._clock()
        return number

    def take(self, alias: bytes, number: str) -> bytes | None:
        """The agent's alias, for a person who typed their number in; None: it is not good, or they tried too often."""
        self._drop_old()
        tries, _ = self._wrong.get(alias, (0, 0.0))
        if tries >= TRIES:
            return None
        digits = "".join(one for one in number if one.isdecimal() and one.isascii())
        found = self._open.get(digits)
        if found is None or found[0] == alias:
            self._wrong[alias] = tries + 1, self._clock()
            self._wrong.move_to_end(alias)
            return None
        del self._open[digits]
        return found[0]

    def _drop_old(self) -> None:
        now = self._clock()
        for kept in (self._open, self._wrong):
            while kept and now - next(iter(kept.values()))[1] > GOOD_S:
                kept.popitem(last=False)
