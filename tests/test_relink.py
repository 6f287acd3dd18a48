"""Wrong links that are replaced: the old alias stops in the commit in which the right one is handed over."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub import limits
from hub.acquisition import claims
from hub.acquisition.claims import LINKED
from hub.aliases import RESIDENT_CODES, find_aliases, find_persons
from hub.errors import RequestError, StorageError
from hub.messages import Acquisition, Flag, Kind, Status
from hub.records.events import EventKind
from hub.storage.snapshot import Commit
from inquiries import tax_inquiry
from linkworld import LinkWorld

N = 20
CREATED, ALREADY, WAITING, NONE, HELD = (
    Acquisition.CREATED, Acquisition.ALREADY, Acquisition.WAITING, Acquisition.NONE, Acquisition.HELD
)  # fmt: skip
REASON = "行ずれによる誤った紐付け"
WORDS: dict[str, Any] = {"clerk": "suzuki", "reason": REASON}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LinkWorld]:
    with LinkWorld(tmp_path / "hub", N) as made:
        yield made


def link(world: LinkWorld, persons: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tickets of the town that are delivered for these persons, and their aliases."""
    tickets = world.h.tickets(world.town, len(persons))
    world.h.deliver("jlis", tickets, world.codes[persons])
    return tickets, world.h.acquired(world.town, tickets).aliases


def answers(world: LinkWorld, aliases: np.ndarray) -> list[int]:
    """What aliases of the town answer when it asks with them."""
    found = world.h.resolve(world.town, world.other_town, aliases)
    return found.status.tolist()


def holders(world: LinkWorld) -> np.ndarray:
    """Each person's alias at the town, zeros where there is none; nobody gets one by this."""
    h = world.h
    pseudonyms = h._store.keys.pseudonyms(hub._columns.code_blocks(world.codes, 10**11)[0])
    with h._store.snapshot() as snapshot:
        persons = find_persons(snapshot, RESIDENT_CODES, pseudonyms, h._workers)[0]
        return find_aliases(snapshot, h.catalog.institution(world.town).number, persons, h._workers)[0]


def test_the_old_alias_stops_where_the_right_one_begins(world: LinkWorld) -> None:
    h = world.h
    _, wrong = link(world, [3])
    right, _ = link(world, [7])
    acquired = h.replace_links(world.town, right, wrong, **WORDS)
    assert acquired.status.tolist() == [CREATED]
    assert answers(world, wrong) == [Status.REVOKED]
    assert (holders(world)[7] == acquired.aliases[0]).all()
    assert not holders(world)[3].any()
    assert h.stats()["aliases"][world.town] == 1
    assert h.verify().ok
    # Nothing leads from the closed link to another alias, of either person.
    assert h.reissue(world.town, wrong).status.tolist() == [NONE]
    assert h.acquire(world.town, world.codes[3:4]).status.tolist() == [CREATED]


def test_both_persons_read_of_it_and_neither_of_the_other(world: LinkWorld) -> None:
    h = world.h
    portal = h.acquire("portal", world.codes).aliases
    _, wrong = link(world, [3])
    right, _ = link(world, [7])
    acquired = h.replace_links(world.town, right, wrong, **WORDS)
    (theirs,), (mine,) = h.history(portal[3]).records, h.history(portal[7]).records
    for record in (theirs, mine):
        assert (record.kind, record.requester, record.remark) == (Kind.LINK_REPLACED, world.town, REASON)
        assert (record.provider, record.items, record.procedure) == ("", ("機関別符号",), "link")
    assert (theirs.outcome, theirs.role) == (Status.REVOKED, "誤って紐付けられていた者")
    assert (mine.outcome, mine.role) == (Status.OK, "本人")
    assert not h.history(portal[5]).records
    event = h.events()[-1]
    assert (event.kind, event.institution, event.clerk) == (EventKind.LINK_REPLACED, world.town, "suzuki")
    assert (event.alias, event.other) == (wrong[0].tobytes(), acquired.aliases[0].tobytes())
    assert event.index == theirs.index
    assert h.history(portal[3]).proof(0).record == theirs


def test_asked_again_it_gives_the_same_answer(world: LinkWorld) -> None:
    h = world.h
    _, wrong = link(world, [3, 4])
    right, _ = link(world, [7, 8])
    first = h.replace_links(world.town, right, wrong, **WORDS)
    stats = h.stats()
    for _ in range(2):
        again = h.replace_links(world.town, right, wrong, **WORDS)
        assert (again.aliases == first.aliases).all()
        assert again.status.tolist() == first.status.tolist()
        world.reopen()
        h = world.h
    assert (h.stats()["records"], h.stats()["aliases"]) == (stats["records"], stats["aliases"])


def test_rows_that_slipped_are_put_right_in_one_call(world: LinkWorld) -> None:
    h = world.h
    # Own id i had the alias of person i + 1: all but the first are known here, each by another's file.
    _, wrong = link(world, np.arange(1, 11))
    right, _ = link(world, np.arange(10))
    acquired = h.replace_links(world.town, right, wrong, **WORDS)
    assert acquired.status.tolist() == [CREATED] * 10
    assert answers(world, wrong) == [Status.REVOKED] * 10
    now = holders(world)
    assert (now[:10] == acquired.aliases).all()
    assert not now[10:].any()
    assert len({alias.tobytes() for alias in (*acquired.aliases, *wrong)}) == 20
    assert h.verify().ok
    again = h.replace_links(world.town, right, wrong, **WORDS)
    assert (again.aliases == acquired.aliases).all()
    # A closed link leads nobody to the alias that its person has now.
    assert not h.reissue(world.town, wrong).status.any()


def test_a_link_that_was_right_is_left_alone(world: LinkWorld) -> None:
    h = world.h
    _, mine = link(world, [1, 2])
    again, _ = link(world, [1, 2])
    before = h.stats()
    assert h.replace_links(world.town, again, mine, **WORDS).status.tolist() == [ALREADY] * 2
    assert (holders(world)[1:3] == mine).all()
    assert h.stats()["records"] == before["records"] == 0
    # Also where the other row of the call is linked to the same person by mistake: they stay under their alias.
    right, _ = link(world, [9, 1])
    acquired = h.replace_links(world.town, right, np.concatenate((mine[:1], mine[:1])), **WORDS)
    assert (acquired.aliases[1] == mine[0]).all()
    assert answers(world, mine) == [Status.NO_ALIAS_AT_PROVIDER] * 2
    assert (holders(world)[9] == acquired.aliases[0]).all()
    assert h.verify().ok


def test_a_person_who_stays_a_client_keeps_their_alias(world: LinkWorld) -> None:
    h = world.h
    portal = h.acquire("portal", world.codes).aliases
    _, wrong = link(world, [3, 4])
    right, _ = link(world, [7, 8])
    acquired = h.replace_links(world.town, right, wrong, keep_old=np.array([True, False]), **WORDS)
    assert answers(world, wrong) == [Status.NO_ALIAS_AT_PROVIDER, Status.REVOKED]
    assert (holders(world)[3] == wrong[0]).all()
    assert (holders(world)[[7, 8]] == acquired.aliases).all()
    outcomes = [h.history(portal[person]).records[0].outcome for person in (3, 4)]
    assert outcomes == [Status.OK, Status.REVOKED]
    again = h.replace_links(world.town, right, wrong, keep_old=np.array([True, False]), **WORDS)
    assert (again.aliases == acquired.aliases).all()
    assert h.verify().ok


def test_two_files_on_one_wrong_link_are_both_put_right(world: LinkWorld) -> None:
    _, wrong = link(world, [3])
    right, _ = link(world, [7, 8])
    acquired = world.h.replace_links(world.town, right, np.concatenate((wrong, wrong)), **WORDS)
    assert acquired.status.tolist() == [CREATED] * 2
    assert (holders(world)[[7, 8]] == acquired.aliases).all()
    assert answers(world, wrong) == [Status.REVOKED]
    assert world.h.verify().ok


def test_who_lost_their_alias_in_another_call_gets_one(world: LinkWorld) -> None:
    h = world.h
    # A file that slipped, in two calls: the first ends the alias that the second call's first row hands over.
    _, wrong = link(world, np.arange(1, 11))
    right, _ = link(world, np.arange(10))
    first = h.replace_links(world.town, right[:5].copy(), wrong[:5].copy(), **WORDS)
    second = h.replace_links(world.town, right[5:].copy(), wrong[5:].copy(), **WORDS)
    assert (holders(world)[:10] == np.concatenate((first.aliases, second.aliases))).all()
    assert answers(world, wrong) == [Status.REVOKED] * 10
    assert h.verify().ok


def test_what_is_not_delivered_changes_nothing(world: LinkWorld) -> None:
    h = world.h
    _, wrong = link(world, [3, 4, 5])
    waiting = h.tickets(world.town, 1)
    held = world.claim(world.town, world.people[8:9])
    h.deliver("jlis", held, world.codes[9:10], [1])
    other = h.tickets("nenkin", 1)
    h.deliver("jlis", other, world.codes[:1])
    tickets = np.concatenate((waiting, held, other))
    acquired = h.replace_links(world.town, tickets, wrong, **WORDS)
    assert acquired.status.tolist() == [WAITING, HELD, NONE]
    assert not acquired.aliases.any()
    assert answers(world, wrong) == [Status.NO_ALIAS_AT_PROVIDER] * 3
    assert h.stats()["records"] == 0


def test_a_held_ticket_replaces_once_it_is_confirmed(world: LinkWorld) -> None:
    h = world.h
    _, wrong = link(world, [3])
    held = world.claim(world.town, world.people[8:9])
    h.deliver("jlis", held, world.codes[8:9], [1])
    h.confirm_links(world.town, held, clerk="suzuki", reason="戸籍で確認")
    acquired = h.replace_links(world.town, held, wrong, **WORDS)
    assert acquired.status.tolist() == [CREATED]
    assert (h.confirm_links(world.town, held, clerk="suzuki", reason="戸籍で確認").aliases == acquired.aliases).all()
    assert h.verify().ok


@pytest.mark.parametrize("bad", ["unknown", "stopped", "another's", "not what it replaced", "two for one ticket"])
def test_an_alias_that_is_not_in_use_refuses_the_call(world: LinkWorld, bad: str) -> None:
    h = world.h
    _, wrong = link(world, [3, 4, 5, 6])
    right, _ = link(world, [10, 11, 12])
    h.revoke(world.town, wrong[2:3].copy())
    h.replace_links(world.town, right[2:].copy(), wrong[3:].copy(), **WORDS)
    others = h.acquire("nenkin", world.codes[:1]).aliases
    old, tickets = wrong[:2].copy(), right[:2].copy()
    if bad == "not what it replaced":
        tickets[1] = right[2]
    elif bad == "two for one ticket":
        tickets[1] = tickets[0]
    else:
        old[1] = {"unknown": np.zeros(16, np.uint8), "stopped": wrong[2], "another's": others[0]}[bad]
    before = h.stats()
    with pytest.raises(RequestError, match=r"aliases: expected this institution's own in use.* got another in row 1"):
        h.replace_links(world.town, tickets, old, **WORDS)
    assert h.stats() == before
    assert answers(world, wrong[:1]) == [Status.NO_ALIAS_AT_PROVIDER]


def test_arguments_of_another_form_are_refused(world: LinkWorld) -> None:
    h = world.h
    _, wrong = link(world, [3])
    right, _ = link(world, [7])
    for words in (
        {"clerk": None}, {"clerk": ""}, {"reason": ""}, {"reason": "x" * (limits.REMARK_CHARS_MAX + 1)},
        {"keep_old": 1}, {"keep_old": np.zeros(2, np.bool_)}, {"reason": "a\0b"},
    ):  # fmt: skip
        with pytest.raises(RequestError, match=next(iter(words))):
            h.replace_links(world.town, right, wrong, **{**WORDS, **words})
    with pytest.raises(RequestError, match="aliases: expected 1 rows, got 0"):
        h.replace_links(world.town, right, wrong[:0], **WORDS)
    with pytest.raises(RequestError):
        h.replace_links("999999", right, wrong, **WORDS)
    empty = np.empty((0, 16), np.uint8)
    assert len(h.replace_links(world.town, empty, empty, **WORDS)) == 0
    assert answers(world, wrong) == [Status.NO_ALIAS_AT_PROVIDER]


def test_a_full_call_is_taken_and_one_row_more_is_not(world: LinkWorld) -> None:
    most, h = limits.LINKS_PER_CALL_MAX, world.h
    codes = np.arange(most + 2, dtype=np.int64) + 10**9
    wrong = h.acquire(world.town, codes[1:]).aliases
    right = h.tickets(world.town, most + 1)
    h.deliver("jlis", right, codes[:-1])
    with pytest.raises(RequestError, match=f"expected at most {most} in one call, got {most + 1}"):
        h.replace_links(world.town, right, wrong, **WORDS)
    acquired = h.replace_links(world.town, right[:most].copy(), wrong[:most].copy(), **WORDS)
    assert acquired.status.tolist() == [CREATED] * most
    assert answers(world, wrong[:most].copy()) == [Status.REVOKED] * most
    assert h.verify().ok


def test_an_inquiry_with_the_closed_alias_is_answered_revoked(world: LinkWorld) -> None:
    h = world.h
    portal = h.acquire("portal", world.codes).aliases
    wrong = h.acquire("nenkin", world.codes[3:4]).aliases
    h.acquire(world.town, world.codes)
    right = h.tickets("nenkin", 1)
    h.deliver("jlis", right, world.codes[7:8])
    acquired = h.replace_links("nenkin", right, wrong, **WORDS)
    both = np.concatenate((wrong, acquired.aliases))
    assert h.inquire(tax_inquiry("after"), both, world.town).status.tolist() == [Status.REVOKED, Status.OK]
    assert h.history(portal[3]).records[0].outcome == Status.REVOKED
    assert h.history(portal[7]).records[0].outcome == Status.OK


def test_flags_go_on_with_who_stays_and_their_records_are_withheld(world: LinkWorld) -> None:
    h = world.h
    portal = h.acquire("portal", world.codes).aliases
    _, wrong = link(world, [1, 2])
    h.flag(world.town, wrong[:1].copy(), Flag.WITHHELD | Flag.MANUAL)
    right, _ = link(world, [0, 1])
    acquired = h.replace_links(world.town, right, wrong, **WORDS)
    assert h.verify().ok
    # Of whom the institution flags as withheld no new record is shown, this one neither.
    assert not h.history(portal[1]).records
    assert h.history(portal[2]).records[0].kind == Kind.LINK_REPLACED
    h.flag(world.town, acquired.aliases[1:].copy(), Flag.MANUAL, on=False)
    assert h.verify().ok


def test_a_replacement_that_fails_is_not_there_at_all(world: LinkWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    h = world.h
    _, wrong = link(world, np.arange(1, 6))
    right, _ = link(world, np.arange(5))
    before = holders(world)
    put = Commit.put_sealed
    for name in ("meta", LINKED, "events", "entries"):

        def put_or_fail(self: Commit, database: str, key: bytes, body: bytes, name: str = name) -> None:
            if database == name:
                raise StorageError("write: no space left", retry_safe=True)
            put(self, database, key, body)

        monkeypatch.setattr(Commit, "put_sealed", put_or_fail)
        with pytest.raises(StorageError):
            h.replace_links(world.town, right, wrong, **WORDS)
        monkeypatch.setattr(Commit, "put_sealed", put)
        assert (holders(world) == before).all()
        assert set(answers(world, wrong)) == {Status.NO_ALIAS_AT_PROVIDER}
        assert (h.stats()["records"], len(h.events())) == (0, 1)
    acquired = h.replace_links(world.town, right, wrong, **WORDS)
    assert set(answers(world, wrong)) == {Status.REVOKED}
    assert (holders(world)[:5] == acquired.aliases).all()
    assert h.verify().ok


def test_a_link_is_replaced_before_and_after_its_persons_are_one(world: LinkWorld) -> None:
    h = world.h
    _, wrong = link(world, [3, 4])
    right, _ = link(world, [7, 8])
    h.replace_links(world.town, right[:1].copy(), wrong[:1].copy(), **WORDS)
    codes = [f"{code:011}" for code in world.codes]
    h.acquire("portal", world.codes)
    two = {"clerk": "a", "second_clerk": "b", "reason": "二重付番"}
    h.merge("jlis", codes[1], codes[8], **two)
    h.merge("jlis", codes[3], codes[7], **two)
    assert h.verify().ok
    acquired = h.replace_links(world.town, right[1:].copy(), wrong[1:].copy(), **WORDS)
    assert (h.acquire(world.town, world.codes[[1, 8]]).aliases == acquired.aliases).all()
    # The two whom a link stands for are one now: it was right, as far as anybody can tell.
    stood = h.acquire(world.town, world.codes[1:2]).aliases
    again, _ = link(world, [8])
    records = h.stats()["records"]
    assert (h.replace_links(world.town, again, stood, **WORDS).aliases == stood).all()
    assert h.stats()["records"] == records
    assert h.verify().ok
    h.split("jlis", codes[3], codes[7], **two)
    h.split("jlis", codes[1], codes[8], **two)
    assert h.verify().ok


def test_the_dead_are_given_no_alias_at_the_portal_in_the_place_of_a_wrong_one(world: LinkWorld) -> None:
    h = world.h
    wrong = h.acquire("portal", world.codes[3:4]).aliases
    right = h.tickets("portal", 1)
    h.deliver("jlis", right, world.codes[7:8])
    h.deaths("jlis", [f"{world.codes[7]:011}"], dt.date(2026, 11, 20))
    before = h.stats()
    acquired = h.replace_links("portal", right, wrong, **WORDS)
    assert acquired.status.tolist() == [NONE]
    assert not acquired.aliases.any()
    assert (h.acquire("portal", world.codes[3:4]).aliases == wrong).all()
    assert h.stats() == before
    assert h.verify().ok


def test_verify_finds_a_link_that_no_record_tells_of(world: LinkWorld) -> None:
    h = world.h
    _, wrong = link(world, [3, 4])
    right, _ = link(world, [7, 8])
    h.replace_links(world.town, right, wrong, **WORDS)
    assert h.verify().ok
    with h._store.snapshot() as snapshot:
        one, value = snapshot.items(LINKED, b"", limit=1)[0]
        first = bytes(value)[8:]
    vault = h._office.vault
    for change in ({"replaced": 100}, {"replaced": 0}, {"pseudonym": bytes(16)}, {"differs": 1}, {"confirmed": 1}):
        with h._store.commit() as commit:
            found = claims.find_link(commit, vault, one)
            assert found is not None
            claims.put_link(commit, vault, one, claims.msgspec.structs.replace(found, **change))
        assert [problem.split(":")[0] for problem in h.verify().problems] == [LINKED], change
        with h._store.commit() as commit:
            commit.put_sealed(LINKED, one, first)
        assert h.verify().ok
