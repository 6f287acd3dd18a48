"""Decisions: what an inquiry is told of one provider, and the table that gives every provider its decision.

An inquiry's requester, procedure, items and role are the same in all its rows; only the provider differs. So an
inquiry is compiled once (:mod:`hub.catalog.compile`) into a small table of decisions and a column that gives every
institution its entry. A single decision and ten million rows read the same column.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from hub.catalog.law import Rule
from hub.catalog.terms import Term
from hub.errors import RequestError
from hub.messages import Reason, Status

NO_ENTRY = 0xFFFF
"""The entry of number 0, which is no institution."""

Consents = bool | npt.NDArray[np.bool_] | None
"""Whether the person of a row consented: True for all rows, bool[N], None (or False) for nobody."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one provider may be asked, and why.

    Attributes:
        allowed: whether every item is allowed.
        status: OK, DENIED, DENIED_ASSESSMENT, DENIED_CONSENT or DENIED_LIMITED.
        rule: the allowing rule's number; of a refusal the nearest rule's; 0 is none.
        reason: of a refusal, what did not fit of the nearest rule.
        nearest: of a refusal, the nearest rule.
        items: the details that a record stores; ``rules`` has the (nearest) rule of each.
        role: the role that a record stores.
        on_behalf_of: the principal's class where the requester acts under a delegation.
        legal_basis: what the requester invokes, for people.
        explanation: why, for people.
    """

    allowed: bool
    status: Status
    rule: int
    reason: Reason
    nearest: Rule | None
    items: tuple[str, ...]
    rules: tuple[int, ...]
    role: str
    on_behalf_of: str | None
    legal_basis: str
    explanation: str


class Entry(NamedTuple):
    """One decision of a table.

    Attributes:
        rule, rules: the allowing rule or the nearest, of the item that decides and of each item.
        misfit: of a refusal, the item that the reason is about.
        without_consent: the decision of a row whose person has not consented; None where it is the same.
    """

    status: Status
    reason: Reason
    rule: int
    rules: tuple[int, ...]
    misfit: str
    without_consent: Entry | None = None


class DecisionTable:
    """The decisions of one inquiry: D entries, and for every institution the number of its entry. Immutable.

    Attributes:
        status: uint8[D] of :class:`Status`.
        rule: uint32[D]; 0 is none.
        reason: uint8[D] of :class:`Reason`.
        legal_basis: D texts for people.
        rules: D tuples, the rule of each item.
        misfits: D item names, of a refusal the item that the reason is about.
        without_consent: uint16[D], the entry of a row without its person's consent; itself where none is needed. The
            refusals that only such rows have stand behind all other entries.
        consent_matters: whether any entry has another one there.
        of_institution: uint16[highest number + 1]; number 0 has ``NO_ENTRY``.
        items, role, on_behalf_of: what records store of every row.
        permit_days: days that a permit of this procedure waits for its provider's answer.
        providers_max: different providers that one requester may ask about one person and item in a day.
        valid_from, valid_until: the table holds from the first to before the second, in seconds since 1970.
    """

    __slots__ = (
        "consent_matters", "items", "legal_basis", "misfits", "of_institution", "on_behalf_of", "permit_days",
        "providers_max", "reason", "role", "rule", "rules", "singles", "status", "valid_from", "valid_until",
        "without_consent",
    )  # fmt: skip

    def __init__(
        self,
        entries: list[Entry],
        of_institution: npt.NDArray[np.uint16],
        *,
        items: tuple[str, ...],
        role: str,
        on_behalf_of: str | None,
        legal_basis: str,
        terms: Term,
        period: tuple[float, float],
    ) -> None:
        without = {number: entry.without_consent for number, entry in enumerate(entries) if entry.without_consent}
        self.without_consent = np.arange(len(entries) + len(without), dtype=np.uint16)
        self.without_consent[list(without)] = np.arange(len(entries), len(entries) + len(without))
        self.consent_matters = bool(without)
        entries = [*entries, *without.values()]
        self.status = np.array([entry.status for entry in entries], dtype=np.uint8)
        self.rule = np.array([entry.rule for entry in entries], dtype=np.uint32)
        self.reason = np.array([entry.reason for entry in entries], dtype=np.uint8)
        self.legal_basis = [legal_basis] * len(entries)
        self.rules = [entry.rules for entry in entries]
        self.misfits = [entry.misfit for entry in entries]
        self.of_institution = of_institution
        # A batch of one is the common call of a single office: its column of one number is made beforehand.
        self.singles = [np.full(1, entry, dtype=np.uint16) for entry in range(len(entries))]
        self.items = items
        self.role = role
        self.on_behalf_of = on_behalf_of
        self.permit_days = terms.permit_days
        self.providers_max = terms.providers_per_person_max
        self.valid_from, self.valid_until = period
        columns: list[npt.NDArray[Any]] = [
            self.status, self.rule, self.reason, self.without_consent, of_institution, *self.singles,
        ]  # fmt: skip
        for column in columns:
            column.flags.writeable = False

    def __len__(self) -> int:
        return len(self.rules)

    def __repr__(self) -> str:
        return f"DecisionTable(entries={len(self)}, institutions={len(self.of_institution) - 1})"

    def look_up(self, providers: npt.NDArray[np.uint32], consents: Consents = None) -> npt.NDArray[np.uint16]:
        """The entry of each row, by its provider's institution number and its person's consent.

        Args:
            consents: of each row; who did not consent is refused what needs it.

        Raises:
            RequestError: a number is no institution's.
        """
        entries = self._look_up(providers)
        if not self.consent_matters or consents is True:
            return entries
        without = self.without_consent.take(entries)
        if consents is not None and consents is not False:
            np.copyto(without, entries, where=consents)
        without.flags.writeable = False
        return without

    def _look_up(self, providers: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint16]:
        column = self.of_institution
        if len(providers) == 1:
            number = providers.item()
            if not 0 < number < len(column):
                raise RequestError(f"providers: expected institution numbers 1 to {len(column) - 1}, got {number}")
            return self.singles[column.item(number)]
        try:
            entries = column.take(providers)
        except IndexError:
            entries = None
        if entries is None or (len(entries) and entries.max() == NO_ENTRY):
            bad = int(np.argmax((providers == 0) | (providers >= len(column))))
            bound = f"institution numbers 1 to {len(column) - 1}"
            raise RequestError(f"providers: expected {bound}, got {int(providers[bad])} in row {bad}")
        entries.flags.writeable = False
        return entries
