"""Copies and arrivals that come in several replies, and columns that a client of another maker may send."""

from __future__ import annotations

import pytest
from both import Both, plain
from further_plays import pushed

from hub.errors import RequestError
from hub.messages import Status
from hub.wire.forms import People, Provided
from hub.wire.methods import METHODS


def test_a_copy_of_many_rows_comes_in_parts(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        both.ask(f"r{number}", [0, 1, 2, number])
    for permits in both.h.collect(both.town):
        both.h.provide(both.town, permits, Status.EMPTY)
    monkeypatch.setattr("hub.methods.copies.ROWS_PER_CHUNK", 3)
    asked = {"institution": "nenkin", "role": "requester"}
    answered = {"institution": both.town, "role": "provider"}
    for words, fewest in ((asked, 4), (answered, 6)):
        whole = list(both.h.copy_of(**words))
        assert len(whole) >= fewest
        for rows in (1, 4, 1 << 20):
            monkeypatch.setattr("hub.wire.doing.WIRE_COPY_ROWS", rows)
            parts = both.r.copy_of(**words)
            assert plain(list(parts)) == plain(whole)
    # What is answered in between moves nothing of what was told.
    monkeypatch.setattr("hub.wire.doing.WIRE_COPY_ROWS", 1)
    parts = both.r.copy_of(**answered)
    told = set(next(parts).permits.tolist())
    both.ask("late", [4, 5])
    both.h.provide(both.town, both.h.collect(both.town)[0], Status.EMPTY)
    rest = [number for part in parts for number in part.permits.tolist()]
    assert not told & set(rest)
    assert len(told) + len(rest) >= 16


def test_a_reply_has_no_more_arrivals_than_it_may_carry(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed(both)
    monkeypatch.setattr("hub.wire.doing.ARRIVED_ROWS", 3)
    found, cursor = [], None
    while lists := both.r.arrived("nenkin", limit=4, after=cursor):
        assert sum(map(len, lists)) <= 3
        found += [number for some in lists for number in some.number.tolist()]
        cursor = lists[-1].cursor
    assert sorted(found) == sorted(both.h.arrived("nenkin")[0].number.tolist())


def test_a_column_that_is_another_is_refused(both: Both) -> None:
    """As a client of another maker may send it."""
    copy = METHODS["copy_of"]
    people, provided = METHODS["deaths"].params["aliases"], METHODS["update"].params["permits"]
    catalog = both.h.catalog
    for form, type_ in ((people, People), (provided, Provided)):
        for pair in ((None, None), (memoryview(b""), memoryview(b""))):
            with pytest.raises(RequestError, match="expected one of two columns"):
                form.unpack(type_(*pair), catalog)
    for name, values in (("requester", b"short"), ("provider", bytes(20))):
        assert copy.do is not None
        with pytest.raises(RequestError, match="after: expected"):
            copy.do(both.h, institution="nenkin", role=name, since=None, until=None, after=values)
