"""The tail of the log, chunk by chunk: small and large ones end the same permits, wherever these stand."""

from __future__ import annotations

import numpy as np
import pytest

from hub.messages import Kind, Status
from hub.provision.inbox import Outcomes, ended_by, status_of
from hub.provision.tail import SMALL_ROWS, Tail
from hub.records.append import make_fields
from hub.records.bodies import ROW, Fields, pack_link
from hub.tlog.entry import Shared

PROVIDER, PERSON = 7, 5
SHARED = Shared(
    inquiry=bytes(8), requester="nenkin", on_behalf_of=None, procedure="19-8/73/75.3", items=("市町村民税",),
    role="納付義務者", section="国民年金部", reference_date=None, catalog="0" * 64, rule=1, reason=0, legal_basis="law",
    supervised=bytes(32),
)  # fmt: skip


def chunk(kind: Kind, outcome: Status, rows: int, follows: int | None) -> tuple[Fields, np.ndarray]:
    """Fields and rows of a chunk, whose records follow ``follows`` and the ones behind it."""
    table = np.zeros(rows, dtype=ROW)
    table["person"], table["provider"], table["kind"], table["outcome"] = PERSON, PROVIDER, kind, outcome
    for row in range(rows):
        if follows is not None:
            table["link"][row] = pack_link(follows + row)
    return make_fields([SHARED], [(100, 0)], [(None, None)], [1_000]), table


@pytest.mark.parametrize("rows", [1, SMALL_ROWS, SMALL_ROWS + 1, 300])
@pytest.mark.parametrize("first", [0, 65_534, 65_535, 1 << 20, (1 << 32) - 2, 1 << 40])
def test_an_end_is_found_wherever_its_permit_stands(first: int, rows: int) -> None:
    tail = Tail(first)
    tail.take(first, *chunk(Kind.INQUIRY, Status.OK, rows, None))
    assert len(tail.left(PROVIDER, first, first + rows).indexes) == rows
    tail.take(first + rows, *chunk(Kind.PROVISION, Status.EMPTY, rows, first))
    assert tail.upto == first + 2 * rows
    indexes = np.arange(first, first + rows, dtype=np.uint64)
    for way in (tail.end, lambda provider, _, found: tail.end_from(provider, first, found)):
        found = Outcomes(np.zeros(rows, np.uint64), np.zeros(rows, np.uint32))
        way(PROVIDER, indexes, found)
        assert (status_of(found.words) == Status.EMPTY).all()
        assert ended_by(found.words).tolist() == list(range(first + rows, first + 2 * rows))


@pytest.mark.parametrize("asked", [1, 3, 250])
def test_few_permits_are_asked_about_among_many_small_ends(asked: int) -> None:
    tail, first, ended = Tail(1_000), 1_000, 200
    tail.take(first, *chunk(Kind.INQUIRY, Status.OK, 300, None))
    for number in range(ended):
        tail.take(first + 300 + number, *chunk(Kind.PROVISION, Status.EMPTY, 1, first + number))
    for begin in (first, first + ended - asked // 2, first + 300 - asked):
        indexes = np.arange(begin, begin + asked, dtype=np.uint64)
        for way in (tail.end, lambda provider, indexes, found: tail.end_from(provider, int(indexes[0]), found)):
            found = Outcomes(np.zeros(asked, np.uint64), np.zeros(asked, np.uint32))
            way(PROVIDER, indexes, found)
            known = indexes < first + ended
            assert (status_of(found.words) == np.where(known, Status.EMPTY, 0)).all()
            assert ended_by(found.words)[known].tolist() == (indexes[known] + 300).tolist()
            assert ((found.released > 0) == known).all()
