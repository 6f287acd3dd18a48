"""The flags that protect people: the Hub's methods; what they mean stands in docs/marks.md.

Who is flagged is stored by ``protection/flags.py``, and applied by ``protection/screen.py`` to what is recorded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from hub.catalog import Catalog
from hub.decode import decode_aliases
from hub.errors import RequestError
from hub.limits import FLAGS_PER_CALL_MAX
from hub.messages import Flag
from hub.protection.flagput import Actor, find_changes, find_known, put_changes
from hub.protection.withholding import Office, check_clerk
from hub.records.events import EventKind
from hub.storage.workers import Workers
from hub.store import Store

_ALL = Flag.MANUAL | Flag.WITHHELD | Flag.NO_SELF


class Flagging(ABC):
    """The part of :class:`hub.Hub` that flags people."""

    _store: Store
    _office: Office
    _workers: Workers

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _check_at_work(self, institution: str) -> None:
        """Refuse a body that was succeeded."""

    @abstractmethod
    def _now(self) -> int:
        """Seconds since 1970, never before the last record."""

    def flag(
        self, institution: str, aliases: Any, flags: Flag, *, on: bool = True, clerk: str | None = None
    ) -> None:
        """Switch flags of persons at an institution on or off; in force at the next read of every process.

        MANUAL: a clerk of this institution must answer (自動応答不可); every institution then seems to know the person.
        WITHHELD: new records to which this institution is a party are withheld on its side (不開示).
        NO_SELF: own data and agents find nothing (自己情報提供不可).

        Durable when it returns, all together; each change of a person is an event. The same call again changes nothing.

        Args:
            aliases: uint8[N, 16], the institution's own; at most ``limits.FLAGS_PER_CALL_MAX``; duplicates allowed.
            flags: one or several; the others stay as they are. clerk: who decides, for auditors.

        Raises:
            RequestError: an alias is unknown or revoked, or an argument has the wrong form; nothing was changed.
        """
        chosen = _check_flags(flags)
        if not isinstance(on, bool):
            raise RequestError(f"on: expected True or False, got {type(on).__name__}")
        check_clerk("clerk", clerk)
        number = self.catalog.institution(institution).number
        rows = decode_aliases(aliases)
        if len(rows) > FLAGS_PER_CALL_MAX:
            raise RequestError(f"aliases: expected at most {FLAGS_PER_CALL_MAX} rows, got {len(rows)}")
        with self._store.writer:
            self._check_at_work(institution)
            with self._store.snapshot() as snapshot:
                changes = find_changes(self._office, snapshot, number, rows, chosen, on, self._workers)
            if changes:
                kind = EventKind.FLAGGED if on else EventKind.UNFLAGGED
                put_changes(self._office, Actor(institution, number, clerk), changes, kind, self._now())

    def flags(self, institution: str, aliases: Any) -> npt.NDArray[np.uint8]:
        """How persons stand at an institution: uint8[N] of :class:`hub.Flag`; what others flag is never told.

        SUSPENDED is switched by ``suspend`` and ``resume``.

        Args:
            aliases: uint8[N, 16], the institution's own.

        Raises:
            RequestError: an alias is unknown or revoked. StorageError: a flag is damaged or missing.
        """
        number = self.catalog.institution(institution).number
        rows = decode_aliases(aliases)
        with self._store.snapshot() as snapshot:
            persons = find_known(snapshot, number, rows, self._workers)
            return self._office.flagged.of(snapshot).flags(persons, number)


def _check_flags(flags: object) -> Flag:
    if isinstance(flags, bool) or not isinstance(flags, int) or not 1 <= flags <= _ALL:
        raise RequestError("flags: expected one or several of hub.Flag, got something else")
    return Flag(flags)
