"""A link that was wrong: the Hub's methods that say what was done through it; what follows stands in docs/blast.md.

The work is done in ``mislinks/blast.py`` and ``mislinks/report.py``.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from typing import Any

from hub.catalog import Catalog
from hub.decode import decode_alias
from hub.mislinks.blast import BlastRadius, find_blast
from hub.mislinks.report import SECTION, MislinkReport, Mislinks, check_case
from hub.protection.withholding import Office
from hub.records.permits import PermitNumbers


class Mislinking(ABC):
    """The part of :class:`hub.Hub` that finds out and reports what a wrong link has done."""

    _office: Office
    _numbers: PermitNumbers
    _mislinks: Mislinks

    @property
    @abstractmethod
    def catalog(self) -> Catalog:
        """The legal basis in force in this folder."""

    def blast_radius(
        self,
        institution: str,
        alias: Any,
        *,
        since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None,
    ) -> BlastRadius:
        """Every record about the person behind an alias in which its institution asked or answered.

        Where the institution asked: what it was told about the wrong person. Where it was asked: who received its data
        about them. Questions that were put, waited or were answered in the interval count. Reads only.

        Args:
            alias: the institution's own, also one that is revoked or was replaced since: it leads to its person still.
            since, until: when the link was wrong: a date (a day in Japan, ``until`` inclusive) or an aware datetime
                (``until`` exclusive).

        Raises:
            RequestError: the institution never had this alias, or an argument has the wrong form.
        """
        return find_blast(self._office, self._numbers, institution, decode_alias(alias), since, until)

    def report_mislink(
        self,
        institution: str,
        wrong_alias: Any,
        right_alias: Any = None,
        *,
        clerk: str,
        second_clerk: str,
        reason: str,
        since: dt.datetime | dt.date | None = None,
        until: dt.datetime | dt.date | None = None,
        known: dt.date | None = None,
        deliberate: bool = False,
        section: str = SECTION,
        request_id: str | None = None,
        dry_run: bool = False,
    ) -> MislinkReport:
        """Report a link that was wrong: records about both citizens, a notice to each, a draft for the Commission.

        Neither citizen is told who the other is, nor which other bodies are concerned. Whom the institution has flagged
        NO_SELF or WITHHELD, and who reads no portal, gets no notice there and has to be told by other means: the report
        counts them. When it returns all of it is durable; after a crash the same call goes on where it stopped, and
        once more it gives the same report and records nothing.

        Args:
            wrong_alias: the institution's own, of now or before: it led to the wrong citizen.
            right_alias: its own alias of the citizen whom it meant; None where that is not known.
            clerk, second_clerk: it takes two. reason: the cause, 1 to 200 characters; it stands in the draft.
            since, until: when the link was wrong, as of ``blast_radius``.
            known: day in Japan on which the institution learned of it, from which the deadlines run; default: today.
            deliberate: whether it was done for an improper purpose: the final report has 60 days instead of 30.
            section: in charge; both citizens read it.
            request_id: by which the same report is known again; default: made of all the other arguments.
            dry_run: nothing is recorded, nobody notified; the report says what would be.

        Raises:
            RequestError: an alias is none of the institution's, both lead to one person, an argument has the wrong
                form, or the request id was used with something else; nothing was changed.
            StorageError: the disk failed or is full; what was done before stands, and the same call goes on.
        """
        words: dict[str, object] = {
            "clerk": clerk, "second_clerk": second_clerk, "reason": reason, "section": section, "since": since,
            "until": until, "known": known, "deliberate": deliberate, "request_id": request_id,
        }  # fmt: skip
        right = None if right_alias is None else decode_alias(right_alias)
        case = check_case(self.catalog, institution, decode_alias(wrong_alias), right, words)
        return self._mislinks.report(case, dry_run)
