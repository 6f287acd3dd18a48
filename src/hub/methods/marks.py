"""What is done to single records: the Hub's methods for marks (不開示) and corrections (訂正); rules in docs/marks.md.

Institutions act as parties to a record, the register body for protected persons, the portal for who asks for a
correction. The work is done in ``protection/withholding.py`` and ``citizens/corrections.py``.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from typing import Any

from hub._columns import code_blocks
from hub.citizens.corrections import CorrectionNotice, Corrections
from hub.decode import CODES_ABOVE, decode_alias, decode_codes
from hub.limits import HISTORY_LIMIT, HISTORY_LIMIT_MAX
from hub.messages import Record
from hub.protection.withholding import Office, Withholding
from hub.records.events import Event, check_after, read_events
from hub.records.handles import PartyRecord
from hub.storage.snapshot import Snapshot
from hub.store import Store


class Acts(ABC):
    """The part of :class:`hub.Hub` that acts on single records."""

    _store: Store
    _office: Office
    _withholding: Withholding
    _corrections: Corrections

    @abstractmethod
    def _find_citizen(self, snapshot: Snapshot, portal_alias: Any) -> int:
        """The person of a portal alias."""

    # -- marks

    def withhold(
        self,
        handle: Any,
        ground: str,
        until: dt.date,
        *,
        institution: str | None = None,
        requester: str | None = None,
        clerk: str | None = None,
    ) -> None:
        """Withhold a record from every history (不開示) from now on, on the side of a party to it.

        The mark stays until it is lifted. The same call again changes nothing; with other words it changes the mark.

        Args:
            handle: ``(request_id, row)``, row counted from 0, the requester's own for 30 days; one of ``handles``; or
                a permit's number, with ``institution``.
            ground: why, for auditors. until: the day of its review, see ``marks_due``.
            institution: who acts, where the handle does not say it. requester: whose request id it is.

        Raises:
            RequestError: the handle names no record, or one that this institution is no party to.
        """
        self._withholding.withhold(handle, ground, until, institution, requester, clerk)

    def lift(
        self,
        handle: Any,
        *,
        institution: str | None = None,
        requester: str | None = None,
        clerk: str | None = None,
        second_clerk: str | None = None,
    ) -> bool:
        """Lift this side's mark; it takes two clerks, in one call or in two.

        Returns:
            whether there is none any more; False: another clerk has to make the same call.

        Raises:
            RequestError: no clerk is named, or the same one twice.
        """
        return self._withholding.lift(handle, institution, requester, clerk, second_clerk)

    def handles(
        self,
        institution: str,
        alias: Any,
        *,
        since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None,
        limit: int = HISTORY_LIMIT,
    ) -> list[tuple[bytes, PartyRecord]]:
        """The newest records about a person that an institution is a party to, and handles by which it names them.

        Args:
            alias: the institution's own. since, until, limit: as in ``history``.

        Raises:
            RequestError: the alias is not one of this institution's.
        """
        check_after(0, limit, HISTORY_LIMIT_MAX)
        return self._withholding.handles(institution, decode_alias(alias), since, until, limit)

    def marks_due(self, institution: str, *, by: dt.date) -> list[tuple[bytes, PartyRecord, dt.date]]:
        """What an institution withholds and is to review by this day: handle, record, day; earliest first."""
        return self._withholding.due(institution, by)

    def protect(
        self, institution: str, code: str, *, since: dt.datetime | dt.date, ground: str, clerk: str | None = None
    ) -> None:
        """The register body's word that a person is protected: their records, old and new, are withheld.

        Each record requested from ``since`` on is in no history until every party to it has judged it.

        Args:
            institution: ``jlis``. code: resident record code (住民票コード); the person may be unknown here as yet.

        Raises:
            RequestError: another institution, or a value of the wrong form.
        """
        self._withholding.protect(institution, self._pseudonym(code), since, ground, clerk)

    def unprotect(
        self, institution: str, code: str, *, clerk: str | None = None, second_clerk: str | None = None
    ) -> bool:
        """End a protection; it takes two clerks, see ``lift``. What the parties withhold stays withheld."""
        return self._withholding.unprotect(institution, self._pseudonym(code), clerk, second_clerk)

    def unjudged(self, institution: str, *, limit: int = HISTORY_LIMIT_MAX) -> list[tuple[bytes, PartyRecord]]:
        """Records of protected persons that wait for this institution's judgement, by handle: handle and record."""
        check_after(0, limit, HISTORY_LIMIT_MAX)
        return self._withholding.unjudged(institution, limit)

    def judge(
        self,
        institution: str,
        handle: Any,
        *,
        withhold: bool,
        ground: str | None = None,
        until: dt.date | None = None,
        clerk: str | None = None,
    ) -> None:
        """Judge a record of a protected person: withhold it with a mark, or disclose it on this side.

        Raises:
            RequestError: the record does not wait for a judgement, or a mark would be lifted by one clerk.
        """
        self._withholding.judge(institution, handle, withhold, ground, until, clerk)

    def events(self, *, after: int = 0, limit: int = HISTORY_LIMIT_MAX) -> list[Event]:
        """What was done with marks and corrections, in order, for auditors; those of erased records are left out.

        Args:
            after: number of the last event that is known. limit: 1 to 1,000.
        """
        check_after(after, limit, HISTORY_LIMIT_MAX)
        found: list[Event] = []
        last: int | None = after
        while last is not None and len(found) < limit:
            with self._store.snapshot() as snapshot:
                events, last = read_events(snapshot, self._office.vault, last, limit)
            found += events
        return found[:limit]

    def _pseudonym(self, code: str) -> bytes:
        return self._store.keys.pseudonyms(code_blocks(decode_codes([code]), CODES_ABOVE)[0]).tobytes()

    # -- corrections

    def ask_correction(
        self,
        portal_alias: Any,
        record: int | Record,
        text: str,
        *,
        disclosed: str,
        institution: str | None = None,
        clerk: str | None = None,
    ) -> int:
        """Ask for a record to be corrected (訂正); asked again with the same words, nothing is added.

        Args:
            record: one of the history, of an inquiry; or its index. text: what is wrong.
            disclosed: ``History.disclosure`` of a page of the last 90 days.
            institution: who is to decide, requester (default) or provider. clerk: of the portal.

        Returns:
            index of the record that says so.

        Raises:
            RequestError: more than 90 days have passed, or the record is not of this person's history.
        """
        with self._store.snapshot() as snapshot:
            person = self._find_citizen(snapshot, portal_alias)
        return self._corrections.ask(person, record, text, disclosed, institution, clerk)

    def correct(
        self,
        handle: Any,
        reason: str,
        section: str,
        *,
        institution: str | None = None,
        requester: str | None = None,
        clerk: str | None = None,
        accepted: bool = True,
        appeal: str | None = None,
    ) -> bytes:
        """Decide on a correction, or correct a record of one's own motion; the history shows it behind the record.

        The same decision again adds nothing. The other holders are notified, see ``corrections``.

        Args:
            handle: of the record, which decides what was asked first, or of the notice.
            reason, appeal: shown to the person; appeal says how to appeal (default: 審査請求).
            section: in charge. accepted: False where it is not corrected; then nobody has to confirm.

        Returns:
            this institution's handle of the decision.
        """
        return self._corrections.correct(handle, reason, section, institution, requester, clerk, accepted, appeal)

    def corrections(self, institution: str) -> list[CorrectionNotice]:
        """What waits for an institution: corrections to decide, corrections of others to confirm; oldest first."""
        return self._corrections.waiting(institution)

    def confirm(self, handle: bytes, *, section: str, institution: str | None = None, clerk: str | None = None) -> None:
        """Confirm another holder's correction; again, nothing is added.

        Raises:
            RequestError: the handle is of no correction of which this institution was notified.
        """
        self._corrections.confirm(handle, institution, section, clerk)
