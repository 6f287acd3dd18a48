"""A hub with a requester, a provider and citizens, as the tests of marks and corrections need it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np

import hub
from inquiries import tax_inquiry

NOON = int(dt.datetime(2026, 11, 25, 12, tzinfo=dt.timezone(dt.timedelta(hours=9))).timestamp())
DAY_S = 86_400
REVIEW = dt.date(2027, 4, 1)


class Clock:
    """A hub's clock that stands still unless it is moved."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Parties:
    """An open hub and what its institutions know: nenkin asks, the town provides, the portal shows."""

    def __init__(self, folder: Path, persons: int = 6, clock: Clock | None = None) -> None:
        self.folder = folder
        self.clock = clock or Clock()
        self.codes = [f"{10**9 + number:011}" for number in range(persons)]
        self.h = hub.open(folder, create=True, clock=self.clock)
        self.town, self.other_town = (body.code for body in self.h.catalog.institutions("市町村長")[:2])
        self.nenkin = self.h.acquire("nenkin", self.codes).aliases
        self.known = self.h.acquire(self.town, self.codes).aliases
        self.portal = self.h.acquire("portal", self.codes).aliases

    def __enter__(self) -> Parties:
        return self

    def __exit__(self, *_: object) -> None:
        self.h.close()

    def reopen(self) -> None:
        """Close and open again, for writing."""
        self.h.close()
        self.h = hub.open(self.folder, clock=self.clock)

    def ask(self, request_id: str, persons: list[int], **words: Any) -> hub.Answer:
        """nenkin asks the town about some persons."""
        return self.h.inquire(tax_inquiry(request_id), np.ascontiguousarray(self.nenkin[persons]), self.town, **words)

    def shown(self, person: int, **words: Any) -> list[int]:
        """Indexes of the whole history of a person, newest first, by pages."""
        return shown_in(self.h, self.portal[person], **words)

    def handles_of_town(self, person: int) -> list[bytes]:
        """The town's handles of a person's records, newest first."""
        return [handle for handle, _ in self.h.handles(self.town, self.known[person])]


def shown_in(h: hub.Hub, alias: np.ndarray, **words: Any) -> list[int]:
    """Indexes of a whole history, newest first, by pages."""
    found: list[int] = []
    cursor = None
    while True:
        page = h.history(alias, cursor=cursor, **words)
        found += [record.index for record in page.records]
        cursor = page.cursor
        if cursor is None:
            return found
