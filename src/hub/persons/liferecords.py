"""Records of what happened to persons themselves: merged, split, died; that it was, and who said so, nothing more.

| kind | requester | provider | outcome | follows |
|---|---|---|---|---|
| MERGED, SPLIT | the register body | none | OK | nothing; one record about each of the two |
| DIED | who said so | none | OK; EMPTY where it is taken back | of a correction or a taking back, the record before |
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from hub.aliases import Persons
from hub.messages import Kind, Status
from hub.protection.withholding import Office
from hub.records.append import Laid, append_records, lay_records, make_fields, order_rows
from hub.records.bodies import ROW, pack_link
from hub.storage.periods import period_of
from hub.storage.snapshot import Commit
from hub.tlog.entry import Shared

PROCEDURE = "lives"
LEGAL_BASIS = "住民基本台帳法8条"
"""Entries of the resident register are made, struck out and corrected upon notice or ex officio."""


def append_life_records(
    office: Office, commit: Commit, kind: Kind, code: str, persons: Persons, *, clerk: str | None,
    outcome: Status = Status.OK, links: Sequence[int | None] | None = None,
) -> tuple[int, Laid]:  # fmt: skip
    """Put one record about each person (uint32[N], at most a chunk) into the transaction.

    Args:
        code: who said so. links: index of the record that each follows, or None.

    Returns:
        (index of the first, the records in the order in which they stand).
    """
    now = max(commit.state.time, office.now())
    key = office.periods.make(period_of(now))
    shared = Shared(
        inquiry=os.urandom(8),
        requester=code,
        on_behalf_of=None,
        procedure=PROCEDURE,
        items=(),
        role="",
        section="",
        reference_date=None,
        catalog=office.catalog().digest,
        rule=0,
        reason=0,
        legal_basis=LEGAL_BASIS,
        supervised=bytes(32),
    )
    rows = np.zeros(len(persons), dtype=ROW)
    rows["person"], rows["kind"], rows["outcome"] = persons, kind, outcome
    for at, link in enumerate(links or ()):
        if link is not None:
            rows["link"][at] = pack_link(link)
    rows, person_keys = order_rows(rows, key)
    fields = make_fields([shared], [(now, 0)], [(clerk, None)])
    laid = lay_records(fields, rows, person_keys, office.keys, key)
    return append_records(commit, laid, now), laid
