"""Linkage that a provider stops for a while: the Hub's methods; what it means stands in docs/blast.md.

Who is suspended is stored with the flags (``protection/flags.py``), and applied by ``protection/screen.py`` to what is
recorded and by ``provision/collect.py`` and ``provision/provide.py`` to the permits that were left before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from hub.aliases import NOBODY
from hub.catalog import Catalog
from hub.decode import decode_aliases
from hub.errors import RequestError
from hub.limits import FLAGS_PER_CALL_MAX, GROUND_CHARS_MAX
from hub.messages import Flag
from hub.protection.flagput import Actor, Changes, find_changes, put_changes
from hub.protection.withholding import Office, check_clerk, check_text
from hub.records.events import EventKind
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.store import Store


class Suspending(ABC):
    """The part of :class:`hub.Hub` that suspends linkage and resumes it."""

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

    def suspend(self, institution: str, aliases: Any = None, *, clerk: str, reason: str) -> int:
        """Stop a provider's linkage of some of its persons, or of everybody, while a link is looked into.

        From the next read of every process on a row that would leave a permit with it is SUSPENDED instead: recorded,
        answered so, no permit. A person whom some institution flags MANUAL goes on to look like anybody who is flagged
        so, and who has no alias there is answered as before. Permits that were left earlier are still collected, marked
        ``manual``; what a machine answers to them is kept as MANUAL, unless it refuses.

        Durable when it returns, all together; each change is an event. The same call again changes nothing.

        Args:
            aliases: uint8[N, 16], the institution's own, at most ``limits.FLAGS_PER_CALL_MAX``, duplicates allowed;
                None for everybody, which leaves those suspended by alias as they are.
            clerk: who decides. reason: why, 1 to 200 characters; both for auditors.

        Returns:
            how many were not suspended before; of the whole institution 1 or 0.

        Raises:
            RequestError: an alias is unknown or revoked, or an argument has the wrong form; nothing was changed.
        """
        return self._switch(institution, aliases, clerk, reason, True)

    def resume(self, institution: str, aliases: Any = None, *, clerk: str, reason: str) -> int:
        """End :meth:`suspend`, of these persons or of everybody; arguments, result and errors are the same.

        Resumed as a whole, persons who were suspended by alias stay so. What was answered SUSPENDED stays as it is
        recorded: it is asked again under another request id.
        """
        return self._switch(institution, aliases, clerk, reason, False)

    def suspended(self, institution: str) -> bool:
        """Whether an institution has suspended the linkage of everybody; of single persons see ``flags``.

        Raises:
            StorageError: a flag is damaged or missing.
        """
        number = self.catalog.institution(institution).number
        with self._store.snapshot() as snapshot:
            return number in self._office.flagged.of(snapshot).stopped

    def _switch(self, institution: str, aliases: Any, clerk: str, reason: str, on: bool) -> int:
        if clerk is None:
            raise RequestError("clerk: expected the name of a clerk, got none")
        check_clerk("clerk", clerk)
        check_text("reason", reason, GROUND_CHARS_MAX)
        number = self.catalog.institution(institution).number
        rows = None if aliases is None else decode_aliases(aliases)
        if rows is not None and len(rows) > FLAGS_PER_CALL_MAX:
            raise RequestError(f"aliases: expected at most {FLAGS_PER_CALL_MAX} rows, got {len(rows)}")
        with self._store.writer:
            self._check_at_work(institution)
            with self._store.snapshot() as snapshot:
                if rows is None:
                    changes = self._of_everybody(snapshot, number, on)
                else:
                    changes = find_changes(self._office, snapshot, number, rows, Flag.SUSPENDED, on, self._workers)
            if changes:
                actor = Actor(institution, number, clerk, reason)
                kind = EventKind.SUSPENDED if on else EventKind.RESUMED
                put_changes(self._office, actor, changes, kind, self._now())
        return len(changes)

    def _of_everybody(self, snapshot: Snapshot, number: int, on: bool) -> Changes:
        if (number in self._office.flagged.of(snapshot).stopped) == on:
            return {}
        return {NOBODY: (b"", int(Flag.SUSPENDED) if on else 0)}
