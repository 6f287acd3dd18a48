"""Flags of people: stored per institution, in force at the next read, and what an inquiry makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.errors import RequestError
from hub.events import EventKind
from hub.flags import NOBODY_FLAGGED, Flagged, join_keys, read_flagged
from hub.limits import FLAGS_PER_CALL_MAX
from hub.messages import Status
from inquiries import tax_inquiry
from parties import Parties

MANUAL, WITHHELD, NO_SELF = hub.Flag.MANUAL, hub.Flag.WITHHELD, hub.Flag.NO_SELF
NOBODY = 0xFFFFFFFF


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as found:
        yield found


@pytest.fixture(params=["group", "chunk"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which an inquiry is recorded: small ones together, large ones by themselves."""
    if request.param == "chunk":
        monkeypatch.setattr("hub.limits.ROWS_GATHERED_MAX", 0)
    return str(request.param)


def told(h: hub.Hub) -> list[tuple[EventKind, str, hub.Flag | None]]:
    return [(event.kind, event.institution, event.flags) for event in h.events()]


# -- stored


def test_a_flag_is_set_and_taken_off_and_leaves_the_others_as_they_are(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    assert h.flags(town, known).tolist() == [0] * 6
    h.flag(town, known[:2], MANUAL | WITHHELD, clerk="佐藤")
    h.flag(town, known[1:3], NO_SELF)
    assert h.flags(town, known).tolist() == [3, 7, 4, 0, 0, 0]
    h.flag(town, known[:3], WITHHELD, on=False)
    assert h.flags(town, known).tolist() == [1, 5, 4, 0, 0, 0]
    assert h.flags("nenkin", parties.nenkin).tolist() == [0] * 6
    parties.reopen()
    assert parties.h.flags(town, known).tolist() == [1, 5, 4, 0, 0, 0]
    assert parties.h.verify().problems == ()


def test_each_change_of_a_person_is_an_event_and_the_same_call_again_is_none(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    h.flag(town, np.ascontiguousarray(known[[0, 0, 1]]), MANUAL, clerk="佐藤")
    before = h.stats()["commits"]
    h.flag(town, known[:2], MANUAL, clerk="鈴木")
    h.flag(town, known[2:], MANUAL | NO_SELF, on=False)
    assert h.stats()["commits"] == before
    h.flag(town, known[:1], MANUAL | WITHHELD)
    h.flag(town, known[:1], MANUAL | WITHHELD, on=False)
    assert told(h) == [
        (EventKind.FLAGGED, town, MANUAL),
        (EventKind.FLAGGED, town, MANUAL),
        (EventKind.FLAGGED, town, MANUAL | WITHHELD),
        (EventKind.UNFLAGGED, town, hub.Flag.NONE),
    ]
    events = h.events()
    assert {event.alias for event in events[:2]} == {alias.tobytes() for alias in known[:2]}
    assert [event.clerk for event in events] == ["佐藤", "佐藤", None, None]


def test_an_alias_that_is_not_its_own_changes_nothing(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    mixed = np.ascontiguousarray(np.vstack([known[:2], parties.nenkin[:1]]))
    for call in (lambda: h.flag(town, mixed, MANUAL), lambda: h.flags(town, mixed)):
        with pytest.raises(RequestError, match=r"^aliases: expected this institution's own, got 1 others$"):
            call()
    assert (h.flags(town, known).tolist(), h.events()) == ([0] * 6, [])


@pytest.mark.parametrize("flags", [0, 8, True, "MANUAL", None, 1.0])
def test_what_is_no_flag_is_refused(parties: Parties, flags: object) -> None:
    with pytest.raises(RequestError, match=r"^flags: expected"):
        parties.h.flag(parties.town, parties.known, flags)  # type: ignore[arg-type]


def test_other_wrong_arguments_are_refused(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    with pytest.raises(RequestError, match=r"^on: expected True or False, got int$"):
        h.flag(town, known, MANUAL, on=1)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"^clerk: expected 1 to"):
        h.flag(town, known, MANUAL, clerk="")
    with pytest.raises(RequestError, match=r"^institution"):
        h.flag("nowhere", known, MANUAL)
    with pytest.raises(RequestError, match=r"^aliases: expected"):
        h.flag(town, known[:, :8], MANUAL)
    assert h.events() == []


def test_a_full_call_is_accepted_and_one_row_more_is_refused(parties: Parties) -> None:
    h, town = parties.h, parties.town
    full = np.repeat(parties.known[:1], FLAGS_PER_CALL_MAX, axis=0)
    h.flag(town, full, MANUAL)
    assert len(h.events()) == 1
    with pytest.raises(RequestError, match=rf"^aliases: expected at most {FLAGS_PER_CALL_MAX} rows"):
        h.flag(town, np.vstack([full, full[:1]]), MANUAL)


def test_no_flags_of_nobody_are_no_change(parties: Parties) -> None:
    parties.h.flag(parties.town, parties.known[:0], MANUAL)
    assert parties.h.flags(parties.town, parties.known[:0]).tolist() == []
    assert parties.h.events() == []


# -- in memory


def test_where_nobody_is_flagged_nothing_is_looked_up() -> None:
    persons = np.array([0, 5, NOBODY], np.uint32)
    assert NOBODY_FLAGGED.manual_anywhere(persons) is None
    assert NOBODY_FLAGGED.withheld(persons, 3) is None
    assert NOBODY_FLAGGED.no_self(persons, 3).tolist() == [False] * 3


def test_nobody_is_never_flagged_whoever_is() -> None:
    last = NOBODY - 1
    flagged = Flagged(1, join_keys(np.array([last], np.uint32), 9), np.array([7], np.uint8))
    persons = np.array([last, NOBODY, 0], np.uint32)
    assert flagged.manual_anywhere(persons).tolist() == [True, False, False]  # type: ignore[union-attr]
    assert flagged.withheld(persons, 9).tolist() == [True, False, False]  # type: ignore[union-attr]
    assert flagged.no_self(persons, 8).tolist() == [False] * 3


# -- inquiries


def test_who_is_manual_anywhere_is_answered_for_alike_by_holder_and_non_holder(parties: Parties, path: str) -> None:
    h, other = parties.h, parties.other_town
    rows = np.ascontiguousarray(parties.nenkin[[0, 1]])
    assert h.inquire(tax_inquiry("before"), rows, other).status.tolist() == [Status.NO_ALIAS_AT_PROVIDER] * 2
    h.flag(parties.town, parties.known[:1], MANUAL)
    assert h.inquire(tax_inquiry("after"), rows, other).status.tolist() == [Status.OK, Status.NO_ALIAS_AT_PROVIDER]
    assert h.inquire(tax_inquiry("holder"), rows, parties.town).status.tolist() == [Status.OK] * 2
    h.flag(parties.town, parties.known[:1], MANUAL, on=False)
    assert h.inquire(tax_inquiry("again"), rows, other).status.tolist() == [Status.NO_ALIAS_AT_PROVIDER] * 2
    assert h.verify().problems == ()


def test_a_manual_person_changes_nothing_that_the_law_denies(parties: Parties, path: str) -> None:
    h = parties.h
    h.flag(parties.town, parties.known[:1], MANUAL)
    rows = np.ascontiguousarray(np.vstack([parties.nenkin[:1], np.zeros((1, 16), np.uint8)]))
    found = h.inquire(tax_inquiry("r"), rows, "mhlw").status.tolist()
    assert found[0] == Status.DENIED
    assert h.inquire(tax_inquiry("r2"), rows, parties.other_town).status.tolist() == [Status.OK, Status.UNKNOWN_ALIAS]


def test_memory_is_what_is_stored(parties: Parties) -> None:
    h = parties.h
    h.flag(parties.town, parties.known[:3], MANUAL)
    h.flag("nenkin", parties.nenkin[2:5], WITHHELD | NO_SELF)
    h.flag(parties.town, parties.known[:1], MANUAL, on=False)
    with h._store.snapshot() as snapshot:
        kept, read = h._office.flagged.of(snapshot), read_flagged(snapshot)
    assert kept is not read
    assert (kept.sum, kept._keys.tolist(), kept._flags.tolist()) == (
        read.sum, read._keys.tolist(), read._flags.tolist(),
    )  # fmt: skip
