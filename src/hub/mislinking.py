"""A link that was wrong: the Hub's methods that say what was done through it; what follows stands in docs/blast.md.

The work is done in ``blast.py``.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC
from typing import Any

from hub.blast import BlastRadius, find_blast
from hub.decode import decode_alias
from hub.permits import PermitNumbers
from hub.withholding import Office


class Mislinking(ABC):
    """The part of :class:`hub.Hub` that finds out and reports what a wrong link has done."""

    _office: Office
    _numbers: PermitNumbers

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
