"""The life of aliases: the Hub's methods that end them and give others in their place; rules in docs/aliases.md.

The work is done in ``reissue.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from hub.catalog import Catalog
from hub.decode import decode_aliases
from hub.messages import Acquired
from hub.reissue import reissue, revoke
from hub.store import Store
from hub.workers import Workers


class Lives(ABC):
    """The part of :class:`hub.Hub` that keeps the life of aliases."""

    _store: Store
    _workers: Workers

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    def reissue(self, institution: str, aliases: Any) -> Acquired:
        """Replace an institution's aliases, as after a leak: the old ones stop in the commit in which others begin.

        From then on an old alias answers ``Status.REVOKED``. Asked again, a row that was replaced before is ALREADY,
        with the alias that its person has now: so the same call may be repeated when its answer was lost.

        Args:
            aliases: uint8[N, 16], the institution's, at most ``limits.ROWS_PER_REISSUE_MAX`` rows, and fewer where
                more than 8 million are in use (``limits.REISSUE_BYTES_MAX``). Duplicates are done once.

        Returns:
            aliases uint8[N, 16] in the caller's order, and status: CREATED; ALREADY; NONE, with zeros, where the alias
            is unknown or was revoked, and nothing was changed.

        Raises:
            RequestError: unknown institution, another form or too many rows; nothing was changed.
            StorageError: the disk is full or failed; nothing of this call was kept.
        """
        number = self.catalog.institution(institution).number
        return reissue(self._store, number, decode_aliases(aliases), self._workers)

    def revoke(self, institution: str, aliases: Any) -> int:
        """End an institution's aliases, in one commit; their persons have none there until it acquires again.

        From then on such an alias answers ``Status.REVOKED``, and who asks the institution about its person
        ``NO_ALIAS_AT_PROVIDER``. A later acquisition gives another alias, CREATED; nothing leads to it from this one.

        Args:
            aliases: as in ``reissue``.

        Returns:
            how many aliases this call ended; unknown, revoked and repeated ones are not counted.

        Raises:
            RequestError, StorageError: as in ``reissue``.
        """
        number = self.catalog.institution(institution).number
        return revoke(self._store, number, decode_aliases(aliases), self._workers)
