"""The life of persons: the Hub's methods by which they are merged, split, told dead and alive; see docs/lives.md.

The work is done in ``persons/merging.py`` and ``persons/dying.py``.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hub._columns import code_blocks
from hub.acquisition.acquire import Barred
from hub.aliases import RESIDENT_CODES, Persons, Statuses
from hub.catalog import Catalog
from hub.decode import CODES_ABOVE, decode_aliases, decode_codes, decode_days
from hub.errors import RequestError
from hub.limits import DEATHS_PER_CALL_MAX, GROUND_CHARS_MAX, HISTORY_LIMIT_MAX
from hub.persons.deaths import dead
from hub.persons.dying import PORTAL, Closed, Deaths, Dying, Find, Teller
from hub.persons.merging import Merging, Undecided, Words
from hub.persons.succeeding import succeed
from hub.persons.successions import NAME as SUCCESSIONS
from hub.persons.successions import check_at_work, find_known_persons, successions_of
from hub.protection.withholding import REGISTER, Office, check_clerk, check_clerks, check_text
from hub.records.events import check_after
from hub.storage.snapshot import Snapshot
from hub.storage.workers import Workers
from hub.store import Store


class PersonActs(ABC):
    """The part of :class:`hub.Hub` that keeps the life of persons."""

    _store: Store
    _office: Office
    _workers: Workers
    _merging: Merging
    _dying: Dying

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    @abstractmethod
    def _pseudonym(self, code: str) -> bytes:
        """The pseudonym of a resident record code."""

    # -- one human being, two numbers

    def merge(
        self, institution: str, keep: str, gone: str, *, clerk: str, second_clerk: str, reason: str
    ) -> None:
        """Make one person of two: two resident record codes were given to one human being.

        One commit. Every alias of the one who is gone leads to the one who stays from then on; where an institution
        has one of both, that of the gone one answers ``Status.REVOKED``, and ``reissue`` tells the other. Whoever was
        protected (``flag``, ``protect``) at either is so. The history of the one who stays shows the records of both.
        The same call again changes nothing.

        Args:
            institution: ``jlis``. keep, gone: resident record codes (住民票コード).
            clerk, second_clerk: two, of the register body. reason: for auditors.

        Raises:
            RequestError: another institution, one clerk twice; a code is not known here, or both are one person's;
                one was merged into somebody else; one died, and the other did not on the same day. Nothing was changed.
            StorageError: the disk is full or failed; nothing of this call was kept.
        """
        keep_key, gone_key, words = self._check_merge(institution, keep, gone, clerk, second_clerk, reason)
        self._merging.merge(keep_key, gone_key, words)

    def split(
        self, institution: str, keep: str, gone: str, *, clerk: str, second_clerk: str, reason: str
    ) -> None:
        """Undo the last merge of a person: they were two after all. One commit; the same call again changes nothing.

        Each has the aliases, flags and holders again that they had. What was recorded in between is shown to the one
        whose alias was asked with; what nobody can tell, to neither (``undecided``).

        Args:
            institution, keep, gone, clerk, second_clerk, reason: as of ``merge``.

        Raises:
            RequestError: as of ``merge``; or they were not merged, somebody was merged with them later, or they were
                told dead since. Nothing was changed.
        """
        keep_key, gone_key, words = self._check_merge(institution, keep, gone, clerk, second_clerk, reason)
        self._merging.split(keep_key, gone_key, words)

    def undecided(self, institution: str, keep: str, *, limit: int = HISTORY_LIMIT_MAX) -> list[Undecided]:
        """Records about a person of whom another was split that are in nobody's history, newest first.

        Args:
            institution: ``jlis``. keep: resident record code of the one who stayed.
        """
        _check_register(institution)
        check_after(0, limit, HISTORY_LIMIT_MAX)
        return self._merging.undecided(self._pseudonym(keep), limit)

    def assign(
        self, institution: str, handle: bytes, code: str, *, clerk: str, second_clerk: str, reason: str
    ) -> None:
        """Say whose a record is that was undecided; it is in that person's history from then on.

        Args:
            institution: ``jlis``. handle: of ``undecided``. code: resident record code of one of the two.
        """
        _check_register(institution)
        words = _check_words(clerk, second_clerk, reason)
        if not isinstance(handle, bytes):
            raise RequestError(f"handle: expected one of h.undecided, got {type(handle).__name__}")
        self._merging.assign(handle, self._pseudonym(code), words)

    def _check_merge(
        self, institution: str, keep: str, gone: str, clerk: str, second_clerk: str, reason: str
    ) -> tuple[bytes, bytes, Words]:
        _check_register(institution)
        words = _check_words(clerk, second_clerk, reason)
        return self._pseudonym(keep), self._pseudonym(gone), words

    # -- death

    def deaths(
        self,
        institution: str,
        aliases: Any,
        days: Any,
        *,
        born: Any = None,
        correct: bool = False,
        clerk: str | None = None,
        second_clerk: str | None = None,
    ) -> Deaths:
        """Tell that persons have died: their portal aliases are closed, every other alias stays at work.

        Durable when it returns; each death is whole or not there at all, and after an error the same call completes
        what is missing. The same day again changes nothing.

        Args:
            institution: a municipality, by aliases of its own (uint8[N, 16]); or ``jlis``, by resident record codes.
                At most ``limits.DEATHS_PER_CALL_MAX`` rows.
            days: of death: a date for all rows, a list or datetime64[D][N]; up to today in Japan.
            born: days of birth, or None where it is not known; only compared, never stored.
            correct: another day than was told before takes its place; this needs two clerks.

        Raises:
            RequestError: another institution; RowsError: a row is of somebody whom it does not know (cause
                ``unknown``), in the future (``future``), before the birth (``born``), twice with two days (``twice``),
                or of another day than was told before (``corrects``). Nothing was changed.
        """
        if not isinstance(correct, bool):
            raise RequestError(f"correct: expected True or False, got {type(correct).__name__}")
        _check_clerks(clerk, second_clerk, two=correct)
        find, rows = self._find_dead(institution, aliases)
        told = decode_days("days", days, rows)
        births = decode_days("born", born, rows, open_end=True)
        return self._dying.deaths(find, told, births, correct, Teller(institution, clerk, second_clerk))

    def alive(
        self, institution: str, aliases: Any, *, clerk: str, second_clerk: str, reason: str
    ) -> int:
        """Take back deaths that were told by mistake: the portal aliases are at work again.

        Args:
            institution, aliases: as of ``deaths``. clerk, second_clerk: two. reason: for auditors.

        Returns:
            how many persons this call brought back; who is not told dead is left as they are.
        """
        words = _check_words(clerk, second_clerk, reason)
        find, _ = self._find_dead(institution, aliases)
        return self._dying.alive(find, Teller(institution, words.clerk, words.second_clerk, words.reason))

    def closed(self, since: int = 0, *, limit: int = DEATHS_PER_CALL_MAX) -> Closed:
        """The portal aliases that deaths have closed, for the portal to end their sessions.

        Args:
            since: ``upto`` of the call before, 0 = from the beginning. limit: at least so many, by whole commits.
        """
        check_after(since, limit, DEATHS_PER_CALL_MAX)
        return self._dying.closed(since, limit)

    # -- bodies that are succeeded

    def succeed(
        self, olds: Sequence[str], new: str, day: dt.date, *, clerk: str, second_clerk: str, reason: str
    ) -> None:
        """Let an institution succeed others, as when municipalities merge; for the operator of the hub.

        From then on the new one asks by their aliases as by its own, is found where they knew a person, collects and
        answers what they were asked, and has their flags. Asking them, or as them, is refused with its name. Their
        records keep the code and the name of their time. One commit; the same call again changes nothing.

        Args:
            olds: codes of bodies of the new one's kind. day: from which on, up to today in Japan.
            clerk, second_clerk: two. reason: for auditors.

        Raises:
            RequestError: a body of another kind, or one that was succeeded already; a day to come. Nothing was changed.
        """
        words = _check_words(clerk, second_clerk, reason)
        if isinstance(olds, str) or not all(isinstance(code, str) for code in olds):
            raise RequestError("olds: expected a list of codes, got something else")
        succeed(self._office, olds, new, day, words)

    def successions(self) -> dict[str, tuple[str, dt.date]]:
        """Code of each body that was succeeded -> (code of its successor, the day)."""
        catalog = self.catalog
        with self._store.snapshot() as snapshot:
            found = successions_of(snapshot).items()
        return {
            catalog.institution_by_number(old).code: (
                catalog.institution_by_number(new).code, dt.date(1970, 1, 1) + dt.timedelta(day)
            )
            for old, (new, day) in found.items()
        }  # fmt: skip

    def _olds(self, institution: str) -> list[str]:
        """The bodies that an institution succeeded."""
        if not self._store.may_have(SUCCESSIONS):
            return []
        catalog = self.catalog
        with self._store.snapshot() as snapshot:
            numbers = successions_of(snapshot).olds(catalog.institution(institution).number)
        return [catalog.institution_by_number(number).code for number in numbers]

    def _check_at_work(self, institution: str) -> None:
        """Refuse a body that was succeeded, by its successor's name.

        Raises:
            RequestError: it was.
        """
        if self._store.may_have(SUCCESSIONS):
            self._check_numbers(np.array([self.catalog.institution(institution).number], dtype=np.uint32))

    def _check_numbers(self, numbers: npt.NDArray[np.uint32]) -> None:
        with self._store.snapshot() as snapshot:
            check_at_work(snapshot, self.catalog, numbers)

    def _find_dead(
        self, institution: str, aliases: Any
    ) -> tuple[Find, int]:
        """How the persons of some rows are found, and how many rows they are."""
        number = RESIDENT_CODES
        if institution == REGISTER:
            rows = self._store.keys.pseudonyms(code_blocks(decode_codes(aliases), CODES_ABOVE)[0])
        else:
            body = self.catalog.institution(institution)
            if body.kind != "city":
                raise RequestError(f"institution: expected a municipality or {REGISTER}, got another")
            rows, number = decode_aliases(aliases), body.number
        if len(rows) > DEATHS_PER_CALL_MAX:
            raise RequestError(f"aliases: expected at most {DEATHS_PER_CALL_MAX} rows, got {len(rows)}")

        def find(snapshot: Snapshot) -> tuple[Persons, Statuses]:
            persons, _, status = find_known_persons(snapshot, number, rows, self._workers)
            return persons, status

        return find, len(rows)

    def _barred(self, institution: str | int) -> Barred | None:
        """Who may not acquire an alias at an institution: at the portal the dead; None where nobody is barred."""
        portal = self.catalog.institution(PORTAL)
        return dead if institution in (portal.code, portal.number) else None


def _check_register(institution: object) -> None:
    if institution != REGISTER:
        raise RequestError(f"institution: expected {REGISTER}, the register body, got another")


def _check_words(clerk: str, second_clerk: str, reason: str) -> Words:
    _check_clerks(clerk, second_clerk, two=True)
    check_text("reason", reason, GROUND_CHARS_MAX)
    return Words(clerk, second_clerk, reason)


def _check_clerks(clerk: str | None, second_clerk: str | None, *, two: bool) -> None:
    if not two:
        check_clerk("clerk", clerk)
        check_clerk("second_clerk", second_clerk)
        return
    check_clerks(clerk, second_clerk)
    if second_clerk is None:
        raise RequestError("second_clerk: expected the name of another clerk, got none")
