"""Disclosure at a counter (窓口開示): who may, and the record that it leaves before anything is read.

For people without card or portal. Two clerks of a body that may, one of whom has checked who the person is, read the
history as the person would; that they did is a record of the person's, of kind COUNTER_VIEW, and both clerks are kept
for supervisors.

Who may: the Prime Minister, who keeps the network's own records (番号法23条3項), and the municipalities, at whose
counters people ask. As another party than the portal they get no record's number: see :func:`renumber`.
"""

from __future__ import annotations

import os

import msgspec
import numpy as np

from hub.catalog import Institution
from hub.errors import RequestError
from hub.limits import CASE_CHARS_MAX, SECTION_CHARS_MAX
from hub.messages import CounterHistory, History, Kind, Status
from hub.protection.marks import put_new_marks
from hub.protection.screen import default_marks
from hub.protection.withholding import TWO, Office, check_clerks, check_text
from hub.records.append import append_records, lay_records, make_fields
from hub.records.bodies import ROW
from hub.records.handles import REQUESTER
from hub.storage.periods import period_of
from hub.tlog.entry import Shared, paper_code

COUNTERS = frozenset({"pm"})
COUNTER_CLASSES = frozenset({"市町村長"})
BASIS = "個人情報保護法76条1項"
ROLE = "本人"


def check_counter(body: Institution) -> None:
    """Refuse a body that does not disclose at a counter.

    Raises:
        RequestError: it does not.
    """
    if body.code not in COUNTERS and COUNTER_CLASSES.isdisjoint(body.classes):
        raise RequestError(f"institution: expected one that discloses at a counter, got {body.code}")


def check_words(clerk: str, second_clerk: str, checked: str, section: str) -> None:
    """Refuse a disclosure without two clerks, or without a word of how the person was known.

    Raises:
        RequestError: as it says.
    """
    if second_clerk is None:
        raise RequestError("second_clerk: expected the name of another clerk, got none")
    check_clerks(clerk, second_clerk)
    check_text("checked", checked, CASE_CHARS_MAX)
    check_text("section", section, SECTION_CHARS_MAX)


def append_view(
    office: Office, body: Institution, person: int, clerk: str, second_clerk: str, checked: str, section: str
) -> None:
    """Put the record of a disclosure that is about to happen into the log, durable when it returns.

    Where the body has flagged the person WITHHELD it begins withheld, and under a protection it waits to be judged, as
    any record that tells where somebody goes.

    Raises:
        StorageError: the disk is full or failed; nothing may be read.
    """
    with office.store.writer, office.store.commit() as commit:
        now = max(commit.state.time, office.now())
        key = office.periods.make(period_of(now))
        rows = np.zeros(1, dtype=ROW)
        rows["person"], rows["kind"], rows["outcome"] = person, Kind.COUNTER_VIEW, Status.OK
        shared = Shared(
            inquiry=os.urandom(8),
            requester=body.code,
            on_behalf_of=None,
            procedure="",
            items=(),
            role=ROLE,
            section=section,
            reference_date=None,
            catalog=office.catalog().digest,
            rule=0,
            reason=0,
            legal_basis=BASIS,
            supervised=bytes(32),
            remark=checked,
        )
        fields = make_fields([shared], [(now, 0)], [(f"{clerk}{TWO}{second_clerk}", None)])
        persons = rows["person"].copy()
        laid = lay_records(fields, rows, key.person_keys(persons), office.keys, key)
        with office.store.snapshot() as snapshot:
            flagged = office.flagged.of(snapshot)
        marks = default_marks(flagged, key, now, persons, {REQUESTER: body.number}, lambda _: body.code)
        first = append_records(commit, laid, now)
        put_new_marks(commit, marks, key.period, first)
    office.wake(first, laid)


def renumber(page: History) -> CounterHistory:
    """The page for others than the portal: its records counted from 1, the newest last, and no cursor.

    With a record's number, its leaf in the public log, or the tag that rows of one inquiry share, a body could join
    what it reads at the counter with what it has as a party, for everybody in the same request. Instead each record has
    a code that only who has its proof can make. Links stay where both records are on the page.

    Raises:
        StorageError: what is stored does not lead to the signed root.
    """
    n = len(page.records)
    places = {record.index: n - at for at, record in enumerate(page.records)}
    records = [
        msgspec.structs.replace(
            one, index=places[one.index], inquiry="", link=None if one.link is None else places.get(one.link)
        )
        for one in page.records
    ]
    proofs = [page.proof(at) for at in range(n)]
    return CounterHistory(records, [paper_code(one.salt, one.leaf).hex() for one in proofs])
