"""What a citizen may be told of by mail: that there is something new, and of whom nothing may be said at all.

The Hub's method for the portal's alerts; see docs/portal.md. Nothing is stored for it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from hub.disclose import write_cursor
from hub.errors import RequestError
from hub.limits import HISTORY_LIMIT
from hub.messages import OWN_DATA, History, Kind
from hub.protection.withholding import Office
from hub.storage.snapshot import Snapshot
from hub.store import Store

OWN_ACTS = frozenset(map(int, (Kind.CORRECTION_ASKED, Kind.CONSENT_WITHDRAWN, Kind.CONSENT_GIVEN)))
"""Kinds of records that the person made by their own hand: no news to them. Looks at own data are none either."""

_EVERYTHING = {"since": None, "until": None, "institution": None, "procedure": None}
_INDEX_END = 1 << 63


class Alerting(ABC):
    """The part of :class:`hub.Hub` that says whether a mail is due."""

    _store: Store
    _office: Office

    @abstractmethod
    def _find_citizen(self, snapshot: Snapshot, portal_alias: Any) -> int:
        """The person of a portal alias."""

    @abstractmethod
    def _read_history(
        self, find: Callable[[Snapshot], int], options: dict[str, Any], *, leave_out: frozenset[int] = frozenset()
    ) -> History:
        """A page of a person's records, but for some kinds."""

    def news(self, portal_alias: Any, *, first: int, below: int) -> int | None:
        """The newest record of a person, between two places in the log, of which an alert may be sent now.

        What is withheld at this moment is none, nor is what the person did themself. Of a person whose own data some
        institution gives to nobody (NO_SELF) there is never any: somebody else may be reading their mail.

        Args:
            portal_alias: as of :meth:`history`.
            first, below: ``first <= index < below``. The caller knows a size that the log had a day ago.

        Returns:
            its index; None where there is none, whatever the reason.

        Raises:
            RequestError: the alias is not one of the portal's, or a place is none.
        """
        for name, place in (("first", first), ("below", below)):
            if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < _INDEX_END:
                raise RequestError(f"{name}: expected a place in the log, got something else")
        person = -1

        def find(snapshot: Snapshot) -> int:
            nonlocal person
            person = self._find_citizen(snapshot, portal_alias)
            return person

        with self._store.snapshot() as snapshot:
            cursor: str | None = write_cursor(self._store.keys, find(snapshot), below)
        newest = None
        while newest is None and cursor is not None:
            options = {"limit": HISTORY_LIMIT, "cursor": cursor, **_EVERYTHING}
            page = self._read_history(find, options, leave_out=OWN_ACTS)
            fresh = [record for record in page.records if record.index >= first]
            newest = next((one.index for one in fresh if not one.procedure.startswith(OWN_DATA)), None)
            cursor = page.cursor if len(fresh) == len(page.records) else None
        # Last, so that a flag that came meanwhile counts.
        with self._store.snapshot() as snapshot:
            silent = self._office.flagged.of(snapshot).no_self_anywhere(np.array([person], np.uint32))
        return None if silent is not None and bool(silent[0]) else newest
