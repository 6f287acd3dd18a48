"""Linkage that a provider suspends and resumes: what it makes of rows, of permits that wait, of machines' answers."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.errors import RequestError
from hub.limits import FLAGS_PER_CALL_MAX
from hub.messages import Reason, Status
from hub.protection.flags import Flagged, join_keys, read_flagged
from hub.records.events import EventKind
from inquiries import tax_inquiry
from parties import Parties
from test_marks import change
from test_merging import A, B, C, World
from test_push import Pushers

OK, SUSPENDED, PENDING, MANUAL = Status.OK, Status.SUSPENDED, Status.PENDING, Status.MANUAL
NO_ALIAS = Status.NO_ALIAS_AT_PROVIDER
WHY = {"clerk": "佐藤", "reason": "identity in doubt"}
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


def aliases_of(h: hub.Hub, institution: str, first: int, count: int) -> np.ndarray:
    """Aliases of persons whom only this institution knows."""
    return h.acquire(institution, [f"{2 * 10**9 + first + number:011}" for number in range(count)]).aliases


# -- rows


@pytest.mark.usefixtures("path")
def test_a_row_about_a_suspended_person_is_recorded_as_suspended_and_leaves_no_permit(parties: Parties) -> None:
    h, town = parties.h, parties.town
    assert h.suspend(town, parties.known[1:3], **WHY) == 2
    answer = parties.ask("r1", [0, 1, 2, 3])
    assert answer.status.tolist() == [OK, SUSPENDED, SUSPENDED, OK]
    assert sum(map(len, h.collect(town))) == 2
    assert [h.history(parties.portal[person]).records[0].outcome for person in (0, 1)] == [OK, SUSPENDED]
    assert h.answers("nenkin", "r1").status.tolist() == [PENDING, SUSPENDED, SUSPENDED, PENDING]
    assert h.resume(town, parties.known[1:2], **WHY) == 1
    assert parties.ask("r2", [0, 1, 2, 3]).status.tolist() == [OK, OK, SUSPENDED, OK]
    # Asked again, the same request has the same answer.
    assert parties.ask("r1", [0, 1, 2, 3]).status.tolist() == [OK, SUSPENDED, SUSPENDED, OK]
    assert h.verify().problems == ()


@pytest.mark.usefixtures("path")
def test_a_whole_institution_is_suspended_until_it_resumes_and_others_are_not(parties: Parties) -> None:
    h, town, other = parties.h, parties.town, parties.other_town
    h.acquire(other, parties.codes)
    stranger = aliases_of(h, "nenkin", 0, 1)
    assert not h.suspended(town)
    assert h.suspend(town, **WHY) == 1
    assert (h.suspended(town), h.suspended(other)) == (True, False)
    asked = np.vstack([parties.nenkin[:2], stranger])
    assert h.inquire(tax_inquiry("r1"), asked, town).status.tolist() == [SUSPENDED, SUSPENDED, NO_ALIAS]
    assert h.inquire(tax_inquiry("r2"), asked, other).status.tolist() == [OK, OK, NO_ALIAS]
    assert h.flags(town, parties.known).tolist() == [0] * 6
    parties.reopen()
    h = parties.h
    assert h.inquire(tax_inquiry("r3"), asked, town).status.tolist() == [SUSPENDED, SUSPENDED, NO_ALIAS]
    assert h.resume(town, **WHY) == 1
    assert h.inquire(tax_inquiry("r4"), asked, town).status.tolist() == [OK, OK, NO_ALIAS]
    assert h.verify().problems == ()


def test_who_is_suspended_by_alias_stays_so_when_everybody_else_is_resumed(parties: Parties) -> None:
    h, town = parties.h, parties.town
    h.suspend(town, parties.known[:1], **WHY)
    h.suspend(town, **WHY)
    h.resume(town, **WHY)
    assert h.flags(town, parties.known[:2]).tolist() == [8, 0]
    assert parties.ask("r1", [0, 1]).status.tolist() == [SUSPENDED, OK]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("whole", [False, True])
def test_a_protected_person_looks_the_same_at_a_body_that_suspends_and_at_one_that_knows_nobody(
    parties: Parties, whole: bool
) -> None:
    h, town, other = parties.h, parties.town, parties.other_town
    h.flag(town, parties.known[:1], hub.Flag.MANUAL)
    h.suspend(town, None if whole else parties.known[:2], **WHY)
    assert parties.ask("r1", [0, 1]).status.tolist() == [OK, SUSPENDED]
    nowhere = np.ascontiguousarray(parties.nenkin[[0, 1]])
    assert h.inquire(tax_inquiry("r2"), nowhere, other).status.tolist() == [OK, NO_ALIAS]
    assert h.answers("nenkin", "r1").status.tolist() == [PENDING, SUSPENDED]


def test_a_row_to_one_body_too_many_is_held_whether_it_is_suspended_or_not(parties: Parties) -> None:
    h = parties.h
    towns = [body.code for body in h.catalog.institutions("市町村長")[:5]]
    for town in towns[1:]:
        h.acquire(town, parties.codes)
    h.suspend(towns[0], **WHY)
    h.suspend(towns[4], **WHY)
    asked = np.repeat(parties.nenkin[:1], 5, axis=0)
    # Suspended bodies count as well: the answer tells that they know the person.
    assert h.inquire(tax_inquiry("r1"), asked, towns).status.tolist() == [SUSPENDED, OK, OK, Status.HELD, Status.HELD]
    parties.reopen()
    # Read from the log again, they count still.
    for number, status in ((3, Status.HELD), (4, Status.HELD), (0, SUSPENDED)):
        assert parties.h.inquire(tax_inquiry(f"r2/{number}"), asked[:1], towns[number]).status.tolist() == [status]
    parties.h.release(("r1", 4), "moved", clerk="鈴木", requester="nenkin")
    assert parties.h.answers("nenkin", "r1").status.tolist()[4] == SUSPENDED
    parties.h.release(("r1", 3), "moved", clerk="鈴木", requester="nenkin")
    assert parties.h.answers("nenkin", "r1").status.tolist()[3] == PENDING
    assert parties.h.verify().problems == ()


def test_a_row_that_names_a_class_is_suspended_where_its_holder_is(parties: Parties) -> None:
    h, town, other = parties.h, parties.town, parties.other_town
    h.push_holders("jlis", parties.codes[:2], "市町村長", [town, other], dt.date(2020, 1, 1))
    h.acquire(other, parties.codes)
    h.suspend(town, parties.known[:1], **WHY)
    answer = h.inquire(tax_inquiry("r1"), parties.nenkin[:2], "市町村長")
    assert answer.status.tolist() == [SUSPENDED, OK]
    assert h.verify().problems == ()


@pytest.mark.usefixtures("path")
def test_a_suspension_counts_for_every_row_whose_commit_comes_behind_it(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    h, town = parties.h, parties.town
    done = []
    whole = h._store.commit

    def commit_later(*words: object, **more: object) -> object:
        if not done:
            done.append(True)
            h.suspend(town, **WHY)
        return whole(*words, **more)

    monkeypatch.setattr(h._store, "commit", commit_later)
    assert parties.ask("r1", [0, 1]).status.tolist() == [SUSPENDED, SUSPENDED]
    assert done == [True]
    assert h.verify().problems == ()


def test_what_is_asked_while_it_stands_is_suspended_whoever_asks_at_the_same_time(parties: Parties) -> None:
    h, town = parties.h, parties.town
    # Moves around each switch: odd while one is under way.
    state = [0]
    wrong: list[tuple[int, int]] = []
    done = threading.Event()

    def ask(number: int) -> None:
        one = np.ascontiguousarray(parties.nenkin[[number]])
        times = 0
        while not done.is_set():
            before = state[0]
            status = int(h.inquire(tax_inquiry(f"t{number}/{times}"), one, town).status[0])
            times += 1
            if before == state[0] and before % 2 == 0:
                suspended = before // 2 % 2
                if status != (SUSPENDED if suspended else OK):
                    wrong.append((before, status))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for switch in range(24):
        state[0] += 1
        (h.resume if switch % 2 else h.suspend)(town, **WHY)
        state[0] += 1
        time.sleep(0.01)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert h.verify().problems == ()


def test_a_provider_that_withholds_a_persons_records_withholds_suspended_rows_too(parties: Parties) -> None:
    h, town = parties.h, parties.town
    h.flag(town, parties.known[:1], hub.Flag.WITHHELD)
    h.suspend(town, parties.known[:1], **WHY)
    assert parties.ask("r1", [0, 1]).status.tolist() == [SUSPENDED, OK]
    assert (len(parties.shown(0)), len(parties.shown(1))) == (0, 1)


# -- permits that were left before


def test_permits_that_were_left_before_are_collected_for_a_clerk_and_may_be_refused(parties: Parties) -> None:
    h, town = parties.h, parties.town
    parties.ask("r1", [0, 1])
    h.suspend(town, parties.known[:1], **WHY)
    assert [permits.manual.tolist() for permits in h.collect(town, manual=True)] == [[True]]
    (permits,) = h.collect(town, manual=True)
    assert permits.aliases.tobytes() == parties.known[0].tobytes()
    h.provide(town, permits, Status.REFUSED, reasons=Reason.LINKAGE_SUSPENDED)
    found = h.answers("nenkin", "r1")
    assert found.status.tolist() == [Status.REFUSED, PENDING]
    assert found.reason.tolist() == [Reason.LINKAGE_SUSPENDED, 0]
    assert h.verify().problems == ()


@pytest.mark.parametrize("whole", [False, True])
def test_what_a_machine_answers_about_a_suspended_person_waits_for_a_clerk(parties: Parties, whole: bool) -> None:
    h, town = parties.h, parties.town
    parties.ask("r1", [0, 1])
    permits = np.concatenate([found.permit for found in h.collect(town)])
    aliases = np.concatenate([found.aliases for found in h.collect(town)])
    mine = (aliases == parties.known[0]).all(axis=1)
    h.suspend(town, None if whole else parties.known[:1], **WHY)
    h.provide(town, permits, Status.PROVIDED, [b"tax"] * 2)
    found = h.answers("nenkin", "r1")
    assert found.status.tolist() == ([PENDING, PENDING] if whole else [PENDING, Status.PROVIDED])
    # A clerk decides by hand; or it is resumed, and the machine may come again.
    h.provide(town, permits[mine], Status.PROVIDED, [b"by hand"], clerk="鈴木")
    parties.clock.now += 1
    assert h.answers("nenkin", "r1").payloads[0] == b"by hand"
    if whole:
        h.resume(town, **WHY)
        h.provide(town, permits[~mine], Status.PROVIDED, [b"tax"])
        parties.clock.now += 1
        assert h.answers("nenkin", "r1").payloads[1] == b"tax"
    assert h.verify().problems == ()


def test_nothing_is_sent_unasked_about_whom_its_sender_has_suspended(tmp_path: Path) -> None:
    with Pushers(tmp_path / "hub") as pushers:
        h, town, other = pushers.h, pushers.town, pushers.other_town
        h.suspend(town, pushers.known[:1], **WHY)
        before = pushers.records()
        # The agency knows the person, the other town does not: it looks the same.
        sent = pushers.push([0, 0, 1], "p1", ["nenkin", other, "nenkin"])
        assert sent.status.tolist() == [SUSPENDED, SUSPENDED, OK]
        assert pushers.records() == before + 1
        assert len(pushers.arrived()) == 1
        # A receiver that suspends somebody is sent what is theirs to know, and says nothing by it.
        h.suspend("nenkin", **WHY)
        assert pushers.push([1], "p2").status.tolist() == [OK]
        assert len(pushers.arrived()) == 2
        h.resume(town, pushers.known[:1], **WHY)
        assert pushers.push([0], "p3").status.tolist() == [OK]
        assert h.verify().problems == ()


def test_of_two_who_are_merged_both_are_suspended_where_one_was(tmp_path: Path) -> None:
    world = World(tmp_path / "hub")
    with world.h as h:
        world.acquire("nenkin", [A, B])
        assert world.ask("before", "nenkin", B, world.other) == OK
        h.suspend(world.other, world.row(world.other, B), **WHY)
        world.merge()
        assert world.ask("r1", "nenkin", A, world.other) == SUSPENDED
        assert world.ask("r2", "nenkin", A, world.town) == OK
        (permits,) = h.collect(world.other)
        assert permits.manual.tolist() == [True]
        h.provide(world.other, permits, Status.PROVIDED, [b"by a machine"])
        assert h.answers("nenkin", "before").status.tolist() == [PENDING]
        world.split()
        assert world.ask("r3", "nenkin", B, world.other) == SUSPENDED
        assert h.resume(world.other, world.row(world.other, B), **WHY) == 1
        assert world.ask("r4", "nenkin", B, world.other) == OK
        assert world.ask("r5", "nenkin", C, world.other) == OK
        assert h.verify().problems == ()


# -- stored, and told


def test_each_change_is_an_event_with_its_reason_and_the_same_call_again_is_none(parties: Parties) -> None:
    h, town = parties.h, parties.town
    twice = np.ascontiguousarray(parties.known[[0, 0, 1]])
    assert h.suspend(town, twice, **WHY) == 2
    assert h.suspend(town, twice, clerk="鈴木", reason="again") == 0
    assert h.suspend(town, **WHY) == 1
    assert h.suspend(town, **WHY) == 0
    assert h.resume(town, parties.known[:1], clerk="鈴木", reason="it was right") == 1
    assert h.resume(town, clerk="鈴木", reason="it was right") == 1
    events = h.events()
    assert [event.kind for event in events] == [EventKind.SUSPENDED] * 3 + [EventKind.RESUMED] * 2
    assert [event.flags for event in events] == [8, 8, 8, 0, 0]
    assert [event.ground for event in events] == ["identity in doubt"] * 3 + ["it was right"] * 2
    assert [event.clerk for event in events] == ["佐藤"] * 3 + ["鈴木"] * 2
    assert {event.alias for event in events[:2]} == {alias.tobytes() for alias in parties.known[:2]}
    assert [event.alias for event in events[2:]] == [None, parties.known[0].tobytes(), None]


def test_flags_and_suspension_leave_each_other_as_they_are(parties: Parties) -> None:
    h, town, known = parties.h, parties.town, parties.known
    h.flag(town, known[:2], hub.Flag.WITHHELD)
    h.suspend(town, known[1:3], **WHY)
    h.flag(town, known[1:2], hub.Flag.WITHHELD, on=False)
    h.flag(town, known[2:3], hub.Flag.MANUAL | hub.Flag.NO_SELF)
    assert h.flags(town, known).tolist() == [2, 8, 13, 0, 0, 0]
    h.resume(town, known, **WHY)
    assert h.flags(town, known).tolist() == [2, 0, 5, 0, 0, 0]
    h.suspend(town, **WHY)
    with h._store.snapshot() as snapshot:
        kept, read = h._office.flagged.of(snapshot), read_flagged(snapshot)
    assert kept.entries() == read.entries()
    assert kept.entries()[NOBODY, h.catalog.institution(town).number] == 8
    assert h.verify().problems == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"clerk": None, "reason": "r"}, r"^clerk: expected the name of a clerk, got none$"),
        ({"clerk": "", "reason": "r"}, r"^clerk: expected 1 to"),
        ({"clerk": "佐藤", "reason": " "}, r"^reason: expected 1 to 200 characters, got 0$"),
        ({"clerk": "佐藤", "reason": "r" * 201}, r"^reason: expected 1 to 200 characters, got 201$"),
    ],
)
def test_wrong_words_change_nothing(parties: Parties, words: dict[str, str], message: str) -> None:
    for call in (parties.h.suspend, parties.h.resume):
        with pytest.raises(RequestError, match=message):
            call(parties.town, parties.known, **words)
    assert parties.h.events() == []


def test_another_institutions_alias_and_one_row_too_many_change_nothing(parties: Parties) -> None:
    h, town = parties.h, parties.town
    mixed = np.ascontiguousarray(np.vstack([parties.known[:2], parties.nenkin[:1]]))
    with pytest.raises(RequestError, match=r"^aliases: expected this institution's own, got 1 others$"):
        h.suspend(town, mixed, **WHY)
    full = np.repeat(parties.known[:1], FLAGS_PER_CALL_MAX, axis=0)
    with pytest.raises(RequestError, match=rf"^aliases: expected at most {FLAGS_PER_CALL_MAX} rows"):
        h.suspend(town, np.vstack([full, full[:1]]), **WHY)
    assert h.events() == []
    assert h.suspend(town, full, **WHY) == 1


def test_the_mask_of_suspended_rows_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(int(os.environ.get("HUB_FAULT_SEED", "0")) or 1)
    people, bodies = np.arange(40, dtype=np.uint32), np.arange(1, 6, dtype=np.uint32)
    one, at = (grid.ravel() for grid in np.meshgrid(people, bodies, indexing="ij"))
    flags = rng.integers(0, 16, len(one)).astype(np.uint8)
    kept = flags > 0
    flagged = Flagged(1, join_keys(one, at)[kept], flags[kept], np.array([2, 5], dtype=np.uint32))
    asked, to = rng.integers(0, 60, 500).astype(np.uint32), rng.integers(0, 8, 500).astype(np.uint32)
    asked[:9] = NOBODY
    own = {(person, body): value for person, body, value in zip(one.tolist(), at.tolist(), flags.tolist(), strict=True)}
    expected = [
        body in (2, 5) or bool(own.get((person, body), 0) & 8)
        for person, body in zip(asked.tolist(), to.tolist(), strict=True)
    ]
    found = flagged.suspended(asked, to)
    assert found is not None
    assert found.tolist() == expected
    by_number = flagged.suspended(asked, 2)
    assert by_number is not None
    assert by_number.all()
    assert Flagged(1, join_keys(one, at), np.full(len(one), 7, np.uint8)).suspended(asked, to) is None


@pytest.mark.parametrize("how", ["flipped", "removed", "moved", "turned off"])
def test_a_damaged_or_lost_suspension_answers_nothing(parties: Parties, how: str) -> None:
    parties.h.suspend(parties.town, **WHY)
    parties.h.close()
    change(parties.folder, "flagged", how)
    parties.h = hub.open(parties.folder, clock=parties.clock)
    with pytest.raises(hub.errors.StorageError, match="flagged"):
        parties.ask("r1", [0])
    assert any("flagged" in problem for problem in parties.h.verify().problems)


@pytest.mark.parametrize("flags", [1, 9, 0])
def test_nobody_has_no_other_flag(parties: Parties, flags: int) -> None:
    with parties.h._store.commit() as commit:
        commit.put_sealed("flagged", NOBODY.to_bytes(4, "big"), bytes((1, 0, flags, 0)))
    with (
        parties.h._store.snapshot() as snapshot,
        pytest.raises(hub.errors.StorageError, match=r"^flagged: expected flags"),
    ):
        read_flagged(snapshot)


def test_a_suspension_that_is_not_there_any_more_is_found(parties: Parties) -> None:
    h = parties.h
    h.suspend(parties.town, **WHY)
    with h._store.commit() as commit:
        commit.delete("flagged", NOBODY.to_bytes(4, "big"))
    assert h.verify().problems == ("flagged: expected everybody's flags as their events say, got others",)
