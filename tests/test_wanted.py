"""Aliases that a provider lacks: a requester asks for them, the register body delivers them, nobody learns two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub.errors import RequestError, StorageError
from hub.limits import WANTED_LIMIT_MAX
from hub.messages import Status, Wanted
from hub.persons import wanted
from hub.records.events import EventKind
from inquiries import tax_inquiry
from test_holders import DAY, MAYORS, Country


@pytest.fixture
def country(tmp_path: Path) -> Iterator[Country]:
    with Country(tmp_path / "hub") as found:
        found.h.acquire(found.towns[0], found.codes[:10])
        yield found


def found_by(h: hub.Hub) -> set[tuple[str, str]]:
    return {(one.provider, one.code) for one in h.wanted("jlis")}


def test_the_register_body_sees_code_and_provider_of_what_was_asked_for(country: Country) -> None:
    first, second = country.towns[:2]
    answer = country.ask("r1", [9, 10, 11], first)
    assert answer.status.tolist() == [Status.OK, Status.NO_ALIAS_AT_PROVIDER, Status.NO_ALIAS_AT_PROVIDER]
    country.ask("r2", [10, 12], second)
    assert country.h.ask_alias(("r1", 1)) is None
    country.h.ask_alias(("r2", 0), clerk="clerk")
    country.h.ask_alias(("r2", 1))
    assert found_by(country.h) == {(first, country.codes[10]), (second, country.codes[10]), (second, country.codes[12])}
    counts = [country.h.wanted_count(code) for code in country.towns[:3]]
    assert counts == [1, 2, 0]
    country.reopen()
    assert [country.h.wanted_count(code) for code in country.towns[:3]] == counts
    assert country.h.verify().problems == ()


def test_what_was_acquired_is_wanted_no_more(country: Country) -> None:
    town = country.towns[0]
    country.ask("r1", [10, 11], town)
    for row in (0, 1):
        country.h.ask_alias(("r1", row))
    country.h.acquire(town, [country.codes[10]])
    assert country.h.wanted_count(town) == 1
    assert found_by(country.h) == {(town, country.codes[11])}
    # The reading has removed it.
    with country.h._store.snapshot() as snapshot:
        assert len(snapshot.items(wanted.NAME, b"")) == 1
    before = country.commits()
    country.h.ask_alias(("r1", 1))
    country.h.ask_alias(("r1", 0))
    assert found_by(country.h) == {(town, country.codes[11])}
    assert country.commits() == before


def test_only_what_is_acquired_at_the_moment_of_removing_is_removed(country: Country) -> None:
    town = country.towns[0]
    country.ask("r1", [10, 11], town)
    for row in (0, 1):
        country.h.ask_alias(("r1", row))
    with country.h._store.snapshot() as snapshot:
        keys = [key for key, _ in snapshot.items(wanted.NAME, b"")]
    wanted.remove_met(country.h._store, keys)
    assert country.h.wanted_count(town) == 2
    country.h.acquire(town, [country.codes[10]])
    wanted.remove_met(country.h._store, keys)
    with country.h._store.snapshot() as snapshot:
        assert len(snapshot.items(wanted.NAME, b"")) == 1


def test_what_was_acquired_and_revoked_again_is_wanted_again_until_it_was_seen(country: Country) -> None:
    town = country.towns[0]
    country.ask("r1", [10], town)
    country.h.ask_alias(("r1", 0))
    given = country.h.acquire(town, [country.codes[10]]).aliases
    assert country.h.wanted_count(town) == 0
    country.h.revoke(town, given)
    assert found_by(country.h) == {(town, country.codes[10])}
    country.h.acquire(town, [country.codes[10]])
    assert found_by(country.h) == set()
    given = country.h.acquire(town, [country.codes[10]]).aliases
    country.h.revoke(town, given)
    assert found_by(country.h) == set()


def test_a_read_only_hub_shows_what_is_wanted_and_removes_nothing(country: Country) -> None:
    town = country.towns[0]
    country.ask("r1", [10, 11, 12], town)
    country.h.ask_alias(("r1", 0))
    country.h.ask_alias(("r1", 1))
    country.h.acquire(town, [country.codes[10]])
    country.h.close()
    country.h = hub.open(country.folder, readonly=True, clock=country.clock)
    assert found_by(country.h) == {(town, country.codes[11])}
    with country.h._store.snapshot() as snapshot:
        assert len(snapshot.items(wanted.NAME, b"")) == 2
    with pytest.raises(RequestError, match="read-only"):
        country.h.ask_alias(("r1", 2))


def test_a_located_row_may_be_asked_for_and_one_that_nobody_holds_may_not(country: Country) -> None:
    country.push([20], country.towns[1], DAY)
    answer = country.ask("r1", [20, 21], MAYORS)
    assert answer.status.tolist() == [Status.NO_ALIAS_AT_PROVIDER] * 2
    country.h.ask_alias(("r1", 0))
    assert found_by(country.h) == {(country.towns[1], country.codes[20])}
    with pytest.raises(RequestError, match="whose provider has no alias"):
        country.h.ask_alias(("r1", 1))


@pytest.mark.parametrize(
    ("handle", "words"),
    [
        (("r1", 0), "whose provider has no alias"),
        (("r1", 2), "0 to 1"),
        (("r1", "1"), "expected a row"),
        (("r9", 0), "request id"),
        ("r1", "handle"),
    ],
)
def test_other_rows_are_refused(country: Country, handle: Any, words: str) -> None:
    country.ask("r1", [0, 10], country.towns[0])
    before = country.commits()
    with pytest.raises(RequestError, match=words):
        country.h.ask_alias(handle)
    with pytest.raises(RequestError, match="clerk"):
        country.h.ask_alias(("r1", 1), clerk=5)  # type: ignore[arg-type]
    assert country.commits() == before


def test_rows_that_were_denied_or_are_a_providers_are_refused(country: Country) -> None:
    town = country.towns[0]
    own = country.h.acquire(town, country.codes[:10]).aliases
    country.h.inquire(tax_inquiry("denied"), country.nenkin[:1], "mhlw")
    country.ask("r1", [0], town)
    ((handle, _),) = country.h.handles(town, own[0])
    for refused in (("denied", 0), handle):
        with pytest.raises(RequestError, match="whose provider has no alias"):
            country.h.ask_alias(refused)


def test_an_event_tells_auditors_who_asked(country: Country) -> None:
    country.ask("r1", [10], country.towns[0])
    country.h.ask_alias(("r1", 0), clerk="sato")
    event = country.h.events()[-1]
    assert (event.kind, event.institution, event.clerk, event.index) == (EventKind.ALIAS_ASKED, "nenkin", "sato", 0)


def test_pages_of_what_is_wanted_join_and_say_nothing_by_their_order(
    country: Country, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wanted, "_AT_A_TIME", 4)
    persons = list(range(10, 40))
    for town in country.towns[:2]:
        country.ask(f"to {town}", persons, town)
        for row in range(len(persons)):
            country.h.ask_alias((f"to {town}", row))
    whole = country.h.wanted("jlis")
    assert len(whole) == 60
    pages: list[Wanted] = []
    while page := country.h.wanted("jlis", limit=7, after=pages[-1] if pages else None):
        assert len(page) <= 7
        pages += page
    assert pages == whole
    assert [one.code for one in whole[:30]] != sorted(one.code for one in whole[:30])
    assert country.h.wanted_count(country.towns[0]) == 30
    country.h.acquire(country.towns[0], country.codes[:39])
    assert [country.h.wanted_count(town) for town in country.towns[:2]] == [1, 30]
    assert len(country.h.wanted("jlis")) == 31


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"register": "nenkin"}, "expected jlis"),
        ({"limit": 0}, "limit"),
        ({"limit": WANTED_LIMIT_MAX + 1}, "limit"),
        ({"limit": True}, "limit"),
        ({"after": "x"}, "after"),
        ({"after": Wanted(provider="nobody", code="00000000001")}, "connected body"),
        ({"after": Wanted(provider="nenkin", code="1")}, "11 digits"),
    ],
)
def test_bad_questions_of_the_register_body_are_refused(country: Country, changes: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"register": "jlis", "limit": 1, "after": None, **changes}
    with pytest.raises(RequestError, match=words):
        country.h.wanted(given.pop("register"), **given)
    assert country.h.wanted("jlis", limit=WANTED_LIMIT_MAX) == []


def test_nothing_wanted_repeats_a_code(country: Country) -> None:
    country.ask("r1", [10], country.towns[0])
    country.h.ask_alias(("r1", 0))
    (one,) = country.h.wanted("jlis")
    assert country.codes[10] not in repr(one) + repr([one])


def test_a_damaged_entry_is_not_answered_from(country: Country) -> None:
    country.ask("r1", [10], country.towns[0])
    country.h.ask_alias(("r1", 0))
    with country.h._store.snapshot() as snapshot:
        ((key, value),) = snapshot.items(wanted.NAME, b"")
        damaged = bytearray(value)
    damaged[-1] ^= 1
    with country.h._store.commit() as commit:
        commit.txn.put(key, bytes(damaged), db=commit.databases[wanted.NAME])
    for call in (lambda: country.h.wanted("jlis"), lambda: country.h.wanted_count(country.towns[0])):
        with pytest.raises(StorageError, match="wanted"):
            call()
    assert any("wanted" in problem for problem in country.h.verify().problems)


def test_codes_come_back_from_their_pseudonyms_whatever_their_digits(country: Country) -> None:
    codes = np.array([0, 1, 10**11 - 1, 12_345_678_901], np.int64)
    blocks = hub._columns.code_blocks(codes, 10**11)[0]
    keys = country.h._store.keys
    assert keys.resident_codes(keys.pseudonyms(blocks)).tolist() == codes.tolist()
    assert keys.resident_codes(np.empty((0, 16), np.uint8)).tolist() == []
    with pytest.raises(StorageError, match="pseudonym"):
        keys.resident_codes(np.zeros((1, 16), np.uint8))
