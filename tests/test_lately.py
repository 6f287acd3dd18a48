"""How many bodies were asked about a person lately: read no further than it needs, counted up to the limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.limits import LATELY_DAYS, LATELY_RECORDS_MAX
from hub.messages import MANY
from hub.protection.lately import Lately
from hub.records.bodies import Bodies
from hub.runs.due import FAN_OUT, SMALL_RECORDS
from hub.runs.index import MERGE, RUN
from inquiries import tax_inquiry
from parties import DAY_S, Parties

BATCH = 256
"""Records that a history is read by at a time."""


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub", persons=3) as found:
        for person in (0, 1):
            found.h.flag(found.town, found.known[[person]], hub.Flag.MANUAL, clerk="佐藤")
        yield found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bodies of records each read had."""
    sizes: list[int] = []
    whole = Bodies.read

    def counted(self: Bodies, indexes: Any) -> Any:
        sizes.append(len(indexes))
        return whole(self, indexes)

    monkeypatch.setattr(Bodies, "read", counted)
    return sizes


def ask_often(parties: Parties, request_id: str, person: int, rows: int, provider: str | None = None) -> None:
    """One inquiry with so many rows about a person."""
    aliases = np.repeat(parties.nenkin[[person]], rows, axis=0)
    answer = parties.h.inquire(tax_inquiry(request_id), aliases, provider or parties.town)
    assert not answer.status.any()


def asked(parties: Parties, limit: int = 8) -> list[int]:
    """What the clerk sees of the first permits."""
    return [number for some in parties.h.collect(parties.town, limit=limit, manual=True) for number in some.asked]


def merge(parties: Parties) -> int:
    """Wait until the index is merged; how many runs it has then."""
    end = time.monotonic() + 60
    while not parties.h._merger.idle:
        assert time.monotonic() < end
        time.sleep(0.01)
    with parties.h._store.snapshot() as snapshot:
        return len(snapshot.items("rundir", RUN, MERGE))


def test_of_thousands_of_older_records_none_is_read(parties: Parties, read: list[int]) -> None:
    # No permits: what lapses is a record of today. Eight runs of one size are merged: the new records are in one run
    # with the old.
    aliases = np.repeat(parties.nenkin[[2]], SMALL_RECORDS, axis=0)
    for number in range(FAN_OUT - 1):
        answer = parties.h.inquire(tax_inquiry(f"old{number}"), aliases, parties.other_town)
        assert (answer.status == hub.Status.NO_ALIAS_AT_PROVIDER).all()
    parties.clock.now += (LATELY_DAYS + 1) * DAY_S
    parties.h.flag(parties.town, parties.known[[2]], hub.Flag.MANUAL, clerk="佐藤")
    ask_often(parties, "new", 2, 2)
    ask_often(parties, "beside", 1, SMALL_RECORDS)
    assert merge(parties) == 1
    read.clear()
    assert set(asked(parties, SMALL_RECORDS + 2)) == {1}
    assert sum(read) <= 2 * BATCH + SMALL_RECORDS


def test_a_question_counts_for_so_many_days_and_no_longer(parties: Parties) -> None:
    ask_often(parties, "old", 0, 1, parties.other_town)
    ask_often(parties, "beside", 0, 1)
    assert asked(parties) == [2]
    parties.clock.now += LATELY_DAYS * DAY_S
    ask_often(parties, "new", 0, 1)
    assert asked(parties)[-1:] == [2]
    parties.clock.now += 1
    assert asked(parties)[-1:] == [1]


def test_so_many_records_are_counted_and_one_more_is_many(parties: Parties) -> None:
    ask_often(parties, "r0", 0, LATELY_RECORDS_MAX - 1, parties.other_town)
    ask_often(parties, "r1", 0, 1)
    # Another person's do not count.
    ask_often(parties, "r2", 1, 3)
    assert sorted(asked(parties)) == [1, 1, 1, 2]
    ask_often(parties, "r3", 0, 1)
    assert sorted(asked(parties)) == [1, 1, 1, MANY, MANY]


def test_who_has_many_is_read_no_further(parties: Parties, read: list[int]) -> None:
    ask_often(parties, "r0", 0, 2 * LATELY_RECORDS_MAX)
    read.clear()
    assert asked(parties) == [MANY] * 8
    # Once for all the permits of a collection, whoever's they are.
    assert sum(read) <= LATELY_RECORDS_MAX + BATCH


def test_a_person_is_read_once_for_all_requesters(parties: Parties, read: list[int]) -> None:
    ask_often(parties, "r0", 0, 5)
    with parties.h._exchange.state() as state:
        lately = Lately(parties.h._office, state.snapshot)
        # The first who was acquired is person 0.
        assert lately.bodies(0, "nenkin") == 1
        before = len(read)
        assert lately.bodies(0, "131016") == 0
        assert len(read) == before
        assert repr(lately) == "Lately(persons=1)"
