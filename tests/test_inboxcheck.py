"""Damaged inboxes: verification names them, and nothing is answered from one."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

import hub
import hub.provision.deliver
import hub.provision.delivery
from hub.errors import RequestError, StorageError
from hub.messages import Kind, Status
from hub.provision.deliver import DROP_AFTER_S
from hub.provision.ends import Ends, append_ends
from hub.provision.inbox import ENTRY, ENTRY_BYTES
from hub.storage.sealed import unseal
from hub.tlog.entry import decode_shared
from inquiries import tax_inquiry
from parties import DAY_S, Clock, Parties

DATABASES = ("inbox", "inboxes", "permits", "outcomes", "manual", "payloads")


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the background, and inboxes of a few permits in a segment."""
    monkeypatch.setattr(hub.provision.delivery, "DELAY_S", 3_600.0)
    monkeypatch.setattr(hub.provision.deliver, "PERMITS_PER_SEGMENT", 4)
    monkeypatch.setattr(hub.provision.deliver, "SMALL_SEGMENT", 2)


class Sound:
    """A closed folder in which permits wait and were answered, in segments and behind them."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        with Parties(folder, persons=12, clock=self.clock) as parties:
            self.folder, self.town, self.other_town = folder, parties.town, parties.other_town
            parties.h.acquire(parties.other_town, parties.codes)
            town = parties.h.catalog.institution(self.town).number
            towns = [self.town, self.town, self.other_town] * 4
            for number in range(3):
                before = parties.h.stats()["records"]
                parties.h.inquire(tax_inquiry(f"r{number}"), parties.nenkin, towns)
                permits = np.concatenate([one.permit for one in parties.h.collect(self.town)])
                indexes = parties.h._provider._numbers.index(town, permits)
                # Of this request, in the order of the log: the first segment of each is answered but for one.
                self.permits = permits[np.argsort(indexes)][np.sort(indexes) >= before]
                parties.h.provide(self.town, self.permits[:2], Status.PROVIDED, [b"a", b"b"])
                parties.h.provide(self.town, self.permits[2:3], Status.REFUSED, reasons=[21])
                parties.h.provide(self.town, self.permits[3:4], Status.MANUAL)
                if number < 2:
                    parties.h._delivery.deliver()
            assert parties.h.verify().problems == ()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub.provision.delivery, "DELAY_S", 3_600.0)
        patch.setattr(hub.provision.deliver, "PERMITS_PER_SEGMENT", 4)
        patch.setattr(hub.provision.deliver, "SMALL_SEGMENT", 2)
        return Sound(tmp_path_factory.mktemp("sound") / "hub")


@pytest.fixture
def folder(sound: Sound, tmp_path: Path) -> Path:
    target = tmp_path / "hub"
    shutil.copytree(sound.folder, target)
    shutil.copy(sound.folder.with_name("hub.head"), tmp_path / "hub.head")
    return target


@pytest.fixture
def opened(sound: Sound, folder: Path) -> Iterator[hub.Hub]:
    with hub.open(folder, clock=sound.clock) as h:
        yield h


# -- bytes that were damaged


def damage(folder: Path, name: str, how: str) -> None:
    """Damage the first value of a database while nobody has it open."""
    env = lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256)
    with env, env.begin(write=True) as txn:
        database = env.open_db(name.encode(), txn=txn, create=False)
        items = [(bytes(key), bytes(value)) for key, value in txn.cursor(db=database)]
        key, value = items[0]
        match how:
            case "flipped":
                txn.put(key, value[:-1] + bytes([value[-1] ^ 4]), db=database)
            case "another's":
                txn.put(key, items[-1][1] + (b"" if len(items) > 1 else b"\0"), db=database)
            case "removed":
                txn.delete(key, db=database)


@pytest.mark.parametrize("how", ["flipped", "another's", "removed"])
@pytest.mark.parametrize("name", DATABASES)
def test_a_damaged_value_is_named_by_verification(sound: Sound, folder: Path, name: str, how: str) -> None:
    damage(folder, name, how)
    with hub.open(folder, readonly=True, clock=sound.clock) as h:
        problems = h.verify().problems
        assert any(problem.startswith(f"{name}:") for problem in problems), problems


def read_all(h: hub.Hub, sound: Sound) -> list[Any]:
    """Everything that is read from the inboxes: what was refused, of each."""
    answered = []
    for call in (
        *(lambda number=number: h.answers("nenkin", f"r{number}") for number in range(3)),
        lambda: h.collect(sound.town),
        lambda: h.provide(sound.town, sound.permits[:2], Status.PROVIDED, [b"a", b"b"]),
    ):
        try:
            answered.append(call())
        except StorageError as error:
            answered.append(str(error))
    return answered


READS = {
    # By whom it is read: the three requests, collecting, providing.
    "inbox": (True, True, True, True, True),
    "inboxes": (True, True, True, True, True),
    # Of the first segment; the requests of later ones are answered.
    "permits": (True, False, False, True, False),
    "outcomes": (True, False, False, True, False),
    "manual": (False, False, False, True, True),
    "payloads": (True, False, False, False, False),
}


@pytest.mark.parametrize("how", ["flipped", "another's", "removed"])
@pytest.mark.parametrize("name", DATABASES)
def test_nothing_is_answered_from_a_damaged_value(sound: Sound, folder: Path, name: str, how: str) -> None:
    with hub.open(folder, readonly=True, clock=sound.clock) as h:
        before = [h.answers("nenkin", f"r{number}") for number in range(3)]
        waiting = sum(map(len, h.collect(sound.town)))
    damage(folder, name, how)
    with hub.open(folder, readonly=True, clock=sound.clock) as h:
        found = read_all(h, sound)
        for number, (one, is_read) in enumerate(zip(found, READS[name], strict=False)):
            if name == "payloads" and how == "removed" and number == 0:
                # It may have been fetched before: only the sum of all of them tells, which verification counts.
                assert one.payloads == [None] * 12
            elif is_read:
                assert isinstance(one, str), (number, one)
                assert name in one
            elif isinstance(one, hub.Receipt):
                assert one.rows == 2
            elif number < 3:
                assert (one.status == before[number].status).all()
                assert one.payloads == before[number].payloads
            else:
                assert sum(map(len, one)) == waiting
        assert len(found) == len(READS[name])


def test_nothing_is_sorted_in_where_an_inbox_is_missing(sound: Sound, folder: Path) -> None:
    damage(folder, "inboxes", "removed")
    with hub.open(folder, clock=sound.clock) as h:
        with pytest.raises(StorageError, match="inboxes: expected the sum"):
            h._delivery.deliver()
        with h._store.snapshot() as snapshot:
            assert len(snapshot.items("inboxes", b"")) == 1


# -- values that were written wrongly, with right checksums and sums


def change(h: hub.Hub, name: str, alter: Callable[[bytes, bytes], bytes | None], at: int = 0) -> None:
    """Write a value of a database anew; None removes it."""
    with h._store.snapshot() as snapshot:
        key, value = snapshot.items(name, b"")[at]
        body = unseal(name, key, value)
    with h._store.commit() as commit:
        altered = alter(key, body)
        if altered is None:
            commit.delete(name, key)
        else:
            assert altered != body
            commit.put_sealed(name, key, altered)


def entry_with(field: str, value: int) -> Callable[[bytes, bytes], bytes]:
    def alter(_: bytes, body: bytes) -> bytes:
        entries = np.frombuffer(body, ENTRY, offset=8).copy()
        entries[0][field] = value
        return body[:8] + entries.tobytes()

    return alter


def problem(h: hub.Hub) -> str:
    """The one thing that verification finds."""
    (found,) = h.verify().problems
    return found


@pytest.mark.parametrize(
    ("field", "value"), [("open", 2), ("deadline", 7), ("requested", 7), ("released", 7), ("zero", 7)]
)
def test_an_entry_that_does_not_count_its_segment_is_found(opened: hub.Hub, field: str, value: int) -> None:
    change(opened, "inboxes", entry_with(field, value))
    assert "expected" in problem(opened)


def test_a_base_that_no_sorting_came_to_is_found(opened: hub.Hub) -> None:
    change(opened, "inboxes", lambda _, body: (int.from_bytes(body[:8], "little") - 1).to_bytes(8, "little") + body[8:])
    assert "expected it to end where the sorting has come to" in problem(opened)


def test_an_inbox_that_lost_a_segment_is_found(opened: hub.Hub) -> None:
    change(opened, "inboxes", lambda _, body: body[:8] + body[8 + ENTRY_BYTES :])
    assert "expected those that its inbox names" in problem(opened)
    change(opened, "permits", lambda *_: None)
    change(opened, "outcomes", lambda *_: None)
    assert "expected the permit of record" in problem(opened)


def test_an_inbox_that_is_gone_with_all_that_it_had_is_found(sound: Sound, opened: hub.Hub) -> None:
    number = opened.catalog.institution(sound.town).number
    with opened._store.snapshot() as snapshot:
        own = [
            (name, key)
            for name in ("inboxes", "permits", "outcomes")
            for key, _ in snapshot.items(name, number.to_bytes(4, "big"), (number + 1).to_bytes(4, "big"))
        ]
    with opened._store.commit() as commit:
        for name, key in own:
            commit.delete(name, key)
    assert problem(opened).startswith(f"inbox of {number}: expected the permit of record")


def test_a_person_or_part_that_the_log_does_not_know_is_found(opened: hub.Hub) -> None:
    # CTR: a bit of the stored bytes is one of what they say. The last columns are persons and parts.
    def flip(back: int) -> Callable[[bytes, bytes], bytes]:
        return lambda _, body: body[: len(body) - back] + bytes([body[-back] ^ 1]) + body[len(body) - back + 1 :]

    change(opened, "permits", flip(4 * 2 + 4))
    assert "expected the permits of the log" in problem(opened)
    change(opened, "permits", flip(4 * 2 + 4))
    assert opened.verify().ok


def test_an_end_that_the_log_does_not_know_is_found(opened: hub.Hub) -> None:
    def reason(_: bytes, body: bytes) -> bytes:
        words = np.frombuffer(body, np.uint64, len(body) // 12).copy()
        at = np.flatnonzero(words)[0]
        words[at] ^= np.uint64(1 << 56)
        return words.tobytes() + body[8 * len(words) :]

    change(opened, "outcomes", reason)
    assert "expected the ends of permits of the log" in problem(opened)


def test_an_end_that_was_not_sorted_in_is_found(opened: hub.Hub) -> None:
    with opened._store.snapshot() as snapshot:
        key, value = snapshot.items("outcomes", b"")[0]
        words = np.frombuffer(unseal("outcomes", key, value), np.uint64, (len(value) - 8) // 12).copy()
        inbox = unseal("inboxes", key[:4], snapshot.get("inboxes", key[:4]))
    entries = np.frombuffer(inbox, ENTRY, offset=8).copy()
    ended = np.flatnonzero(words)
    words[ended[0]] = 0
    entries[0]["open"] += 1
    entries[0]["deadline"] = entries["deadline"].max()
    with opened._store.commit() as commit:
        commit.put_sealed("outcomes", key, words.tobytes() + bytes(4 * len(words)))
        commit.put_sealed("inboxes", key[:4], inbox[:8] + entries.tobytes())
    assert "expected the ends of permits of the log" in problem(opened)


@pytest.mark.parametrize("sorted_in", [False, True])
def test_a_permit_that_ended_twice_is_found(sound: Sound, opened: hub.Hub, sorted_in: bool) -> None:
    end = end_of_waiting(opened, sound.town)
    append_ends(opened._office, end)
    if sorted_in:
        opened._delivery.deliver()
    assert opened.verify().ok
    append_ends(opened._office, end)
    assert "expected each permit to end once" in problem(opened)
    with pytest.raises(StorageError, match="expected ends of open permits"):
        opened._delivery.deliver()


def test_an_end_of_a_permit_of_another_provider_is_found(sound: Sound, opened: hub.Hub) -> None:
    end = end_of_waiting(opened, sound.town)
    other = opened.catalog.institution(sound.other_town).number
    append_ends(opened._office, end._replace(providers=np.full(1, other, np.uint16)))
    assert "expected a link to what it answers" in problem(opened)


def end_of_waiting(h: hub.Hub, town: str) -> Ends:
    """An answer to some waiting permit, to be recorded without a look at how it stands."""
    provider = h.catalog.institution(town).number
    with h._provider._exchange.state() as state:
        rows = state.between(state.inbox(provider), 0, state.snapshot.state.records, waiting=True).rows
    # Not the one of which a clerk decides.
    at = slice(len(rows.indexes) - 1, len(rows.indexes))
    return Ends(
        np.full(1, provider, np.uint16), rows.indexes[at], rows.persons[at], rows.which[at], rows.parts,
        [decode_shared(part.shared) for part in rows.parts], np.full(1, Status.EMPTY, np.uint8),
        np.zeros(1, np.uint8), None, None, Kind.PROVISION, None, None,
    )  # fmt: skip


def test_a_clerk_s_permit_that_has_ended_or_never_was_is_found(sound: Sound, opened: hub.Hub) -> None:
    number = opened.catalog.institution(sound.town).number
    with opened._store.snapshot() as snapshot:
        key, value = snapshot.items("manual", b"")[0]
        body = unseal("manual", key, value)
    ended = opened._provider._numbers.index(number, sound.permits[:1]).tolist()[0]
    for index, match in ((ended, "which has ended"), (opened.stats()["records"] - 1, "which left none")):
        other = key[:4] + index.to_bytes(8, "big")
        with opened._store.commit() as commit:
            commit.put_sealed("manual", other, body)
        assert match in problem(opened)
        with opened._store.commit() as commit:
            commit.delete("manual", other)
    assert opened.verify().ok


def test_payloads_of_another_chunk_or_outcome_are_found(opened: hub.Hub) -> None:
    with opened._store.snapshot() as snapshot:
        key, value = snapshot.items("payloads", b"")[0]
        body = unseal("payloads", key, value)
    for first in (0, int.from_bytes(key, "big") + 1):
        with opened._store.commit() as commit:
            commit.put_sealed("payloads", first.to_bytes(8, "big"), body)
        assert "expected" in problem(opened)
        with opened._store.commit() as commit:
            commit.delete("payloads", first.to_bytes(8, "big"))
    # CTR: a bit of a stored size is one of the size.
    change(opened, "payloads", lambda _, body: body[:32] + bytes([body[32] ^ 1]) + body[33:])
    assert "expected as many bytes as their sizes say" in problem(opened)


# -- what is no damage


def test_segments_that_were_dropped_are_not_missed(sound: Sound, opened: hub.Hub) -> None:
    sound.clock.now += DROP_AFTER_S + DAY_S
    try:
        assert opened.lapse() > 0
        opened._delivery.deliver()
        with opened._store.snapshot() as snapshot:
            assert snapshot.items("permits", b"") != []
        assert opened.verify().ok
        opened.inquire(tax_inquiry("new"), opened.acquire("nenkin", ["01000000000"]).aliases, sound.town)
        opened._delivery.deliver()
        with opened._store.snapshot() as snapshot:
            assert len(snapshot.items("permits", b"")) == 1
        assert opened.verify().ok
        with pytest.raises(RequestError, match="expected permits of this institution"):
            opened.provide(sound.town, sound.permits[:1], Status.PROVIDED, [b"a"])
    finally:
        sound.clock.now -= DROP_AFTER_S + DAY_S


def test_a_stretch_that_is_half_sorted_in_is_whole(opened: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.provision.deliver, "STEP_BYTES", 1)
    monkeypatch.setattr(hub.provision.deliver, "STRETCH_RECORDS_MAX", 5)
    steps = 0
    while opened._delivery._deliverer.step():
        steps += 1
        assert opened.verify().problems == ()
    assert steps >= 4


@pytest.mark.parametrize("sorted_in", [False, True])
def test_inboxes_outlive_the_keys_of_their_first_permits(sound: Sound, opened: hub.Hub, sorted_in: bool) -> None:
    before = sound.clock.now
    try:
        sound.clock.now = dt.datetime(2034, 4, 1, tzinfo=dt.UTC).timestamp()
        assert opened.lapse() > 0
        if sorted_in:
            opened._delivery.deliver()
            assert opened.verify().problems == ()
        assert opened.retain(confirm=True).periods != ()
        assert opened.verify().problems == ()
        assert opened.collect(sound.town) == []
        assert opened.lapse() == 0
        opened._delivery.deliver()
        assert opened.verify().problems == ()
        opened.inquire(tax_inquiry("new"), opened.acquire("nenkin", ["01000000000"]).aliases, sound.town)
        (permits,) = opened.collect(sound.town)
        opened.provide(sound.town, permits, Status.EMPTY)
        opened._delivery.deliver()
        assert opened.verify().problems == ()
    finally:
        sound.clock.now = before


def test_a_segment_that_begins_within_an_old_chunk_is_compared(tmp_path: Path) -> None:
    for life in range(100):
        with Parties(tmp_path / f"hub{life}", persons=12) as parties:
            # Only one of twelve leaves a permit, and it seldom stands first.
            parties.h.acquire(parties.other_town, parties.codes[:1])
            parties.h.inquire(tax_inquiry("r1"), parties.nenkin, parties.other_town)
            parties.h._delivery.deliver()
            with parties.h._store.snapshot() as snapshot:
                ((key, _),) = snapshot.items("permits", b"")
            if key.endswith(bytes(8)):
                continue
            parties.clock.now += DROP_AFTER_S + DAY_S
            assert parties.h.lapse() == 1
            assert parties.h.verify().problems == ()
            return
    raise AssertionError("expected another order in one of a hundred lives")
