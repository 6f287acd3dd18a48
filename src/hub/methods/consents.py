"""Consents: the Hub's methods by which a citizen sees, withdraws and gives again what a requester needs of them.

The work is done in ``citizens/consents.py``; see docs/portal.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from hub.citizens.consents import Consent, ConsentRegister
from hub.persons.merges import lives_of
from hub.protection.withholding import check_clerk
from hub.storage.snapshot import Snapshot
from hub.store import Store


class Consenting(ABC):
    """The part of :class:`hub.Hub` for consents."""

    _store: Store
    _consents: ConsentRegister

    @abstractmethod
    def _find_citizen(self, snapshot: Snapshot, portal_alias: Any) -> int:
        """The person of a portal alias."""

    def consents(self, portal_alias: Any) -> list[Consent]:
        """What a person withdrew, or gave again, last of each institution and procedure; newest first.

        That a requester stated a consent is not here: it stands in the records of what it asked.

        Raises:
            RequestError: the alias is not one of the portal's.
        """
        with self._store.snapshot() as snapshot:
            person = self._find_citizen(snapshot, portal_alias)
            return self._consents.of(snapshot, lives_of(snapshot).members(person))

    def withdraw_consent(
        self, portal_alias: Any, institution: str, procedure: str, *, clerk: str | None = None
    ) -> bool:
        """Withdraw a consent: from the next inquiry on, whatever the requester states, it is one without consent.

        The history says so. What was provided before stays provided.

        Args:
            institution: code of the requester. clerk: of the portal, for auditors.

        Returns:
            whether this call changed it.

        Raises:
            RequestError: the alias, institution or procedure is not known, or the procedure needs no consent.
            StorageError: the disk is full or failed; nothing was changed.
        """
        return self._set_consent(portal_alias, institution, procedure, True, clerk)

    def give_consent(self, portal_alias: Any, institution: str, procedure: str, *, clerk: str | None = None) -> bool:
        """Take a withdrawal back: what the requester states counts again. As :meth:`withdraw_consent`."""
        return self._set_consent(portal_alias, institution, procedure, False, clerk)

    def _set_consent(
        self, portal_alias: Any, institution: str, procedure: str, withdrawn: bool, clerk: str | None
    ) -> bool:
        check_clerk("clerk", clerk)
        with self._store.snapshot() as snapshot:
            person = self._find_citizen(snapshot, portal_alias)
            persons = list(lives_of(snapshot).members(person))
        return self._consents.set(persons, person, institution, procedure, withdrawn=withdrawn, clerk=clerk)
