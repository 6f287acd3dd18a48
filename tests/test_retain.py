"""Retention: what has expired is gone everywhere, all that was proven stays proven, holds keep what they name."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
import numpy as np
import pytest

import hub
from hub.errors import BusyError, RequestError, StorageError
from hub.limits import RETAIN_AHEAD_DAYS_MAX, RETAIN_PERIODS_MAX
from hub.records import retain
from hub.records.bodies import Fields, KeyGoneError
from hub.records.erasures import expires_at, years_after
from hub.records.log import default_head
from hub.storage.periods import JAPAN_TIME, PeriodKey, period_end, period_of
from hub.storage.sealed import seal
from hub.tlog.verify import verify_checkpoint, verify_consistency, verify_proof
from inquiries import tax_inquiry

START = int(dt.datetime(2026, 11, 20, 12, tzinfo=JAPAN_TIME).timestamp())
OLD = period_of(START)
EXPIRY = expires_at(OLD)
SECTION = "Section of the expired quarter"
DAY = 86_400


class Aged:
    """A hub with records of two quarters and one seven years later, with the clock in the test's hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = float(START)
        codes = np.arange(60, dtype=np.int64) + 10**9
        with self.open(create=True) as h:
            self.town = h.catalog.institutions("市町村長")[0].code
            self.own = h.acquire("nenkin", codes).aliases
            h.acquire(self.town, codes[:40])
            self.portal = h.acquire("portal", codes).aliases
            self.ask(h, "old-1", 60, SECTION)
            self.ask(h, "old-2", 3, SECTION)
            self.now += 60 * DAY
            self.ask(h, "kept", 20, "Section that is kept")
            self.now = EXPIRY - 1
            self.ask(h, "new", 5, "Section of today")
            self.key = h.verifier_key
            self.before = h.checkpoint()

    def open(self, **options: object) -> hub.Hub:
        return hub.open(self.folder, clock=lambda: self.now, **options)  # type: ignore[arg-type]

    def ask(self, h: hub.Hub, name: str, rows: int, section: str) -> None:
        h.inquire(tax_inquiry(name, section=section, operator="clerk"), self.own[:rows], self.town,
                  cases=[f"case {name} {row}" for row in range(rows)])  # fmt: skip

    def expire(self) -> None:
        self.now = EXPIRY


@pytest.fixture
def aged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Aged:
    # Permits that nobody answers lapse by themselves, and each lapse is a record: here only those of the test count.
    monkeypatch.setattr("hub.provision.lapse.Lapser.lapse", lambda lapser: 0)
    return Aged(tmp_path / "hub")


def sections(h: hub.Hub, alias: object) -> list[str]:
    return [record.section for record in h.history(alias).records]


def contains(folder: Path, text: str) -> bool:
    return any(text.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def decrypt_old(folder: Path, key: bytes) -> str:
    """Shared fields of the first chunk, read from a copy of the environment as somebody would who has the key."""
    env = lmdb.open(str(folder), map_size=1 << 30, max_dbs=256, readonly=True, lock=False, lib_version=0)
    with env, env.begin() as txn:
        value = txn.get(bytes(8), db=env.open_db(b"records", txn=txn, create=False))
    size, nonce = int.from_bytes(value[40:44], "little"), value[48:60]
    fields = PeriodKey(OLD, key).crypt_fields(nonce, value[64 : 64 + size])
    return msgspec.msgpack.decode(msgspec.msgpack.decode(fields, type=Fields).shared[0])[7]


def test_seven_calendar_years_in_japan_after_the_last_inquiry_has_ended() -> None:
    last = dt.datetime.fromtimestamp(period_end(OLD), JAPAN_TIME) + dt.timedelta(days=62)
    assert dt.datetime.fromtimestamp(EXPIRY, JAPAN_TIME) == last.replace(year=last.year + 7)
    leap = dt.datetime(2028, 2, 29, tzinfo=JAPAN_TIME)
    assert years_after(leap, 7) == dt.datetime(2035, 3, 1, tzinfo=JAPAN_TIME)


def test_a_second_before_its_time_nothing_is_erased_and_at_it_the_period_is(aged: Aged) -> None:
    with aged.open() as h:
        assert h.retain() == hub.Retained(periods=(), records=0, copied=0, holds_ended=0)
        assert len(h.history(aged.portal[0])) == 4
        aged.expire()
        done = h.retain()
        assert (done.periods, done.records) == (("2026Q4",), 63)
        assert sections(h, aged.portal[0]) == ["Section of today", "Section that is kept"]
        assert sections(h, aged.portal[50]) == []
        assert h.retain().periods == ()
        assert h.verify().problems == ()
    with aged.open(readonly=True) as h:
        assert h.verify().problems == ()
        assert [one.done for one in h.retention()] == [True, False, False]


def test_an_expired_section_is_nowhere_and_a_backup_of_it_cannot_be_read(aged: Aged, tmp_path: Path) -> None:
    backup, key = tmp_path / "backup", aged.folder / "keys" / "periods" / "2026Q4.key"
    shutil.copytree(aged.folder / "env", backup)
    assert decrypt_old(backup, key.read_bytes()) == SECTION
    assert not contains(backup, SECTION)
    aged.expire()
    with aged.open() as h:
        h.retain()
    assert not [path for path in key.parent.iterdir() if "2026Q4" in path.name]
    for folder in (aged.folder, backup):
        assert not contains(folder, SECTION)
    for other in key.parent.iterdir():
        with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
            decrypt_old(backup, other.read_bytes())


def test_what_was_proven_before_stays_proven(aged: Aged, tmp_path: Path) -> None:
    tiles = tmp_path / "tiles"
    with aged.open() as h:
        texts = [h.history(aged.portal[0]).proof(i).text() for i in range(4)]
        old = verify_checkpoint(h.checkpoint(), aged.key)
        h.export_tiles(tiles)
        earlier = {path: path.read_bytes() for path in tiles.rglob("*") if path.is_file() and path.name != "checkpoint"}
        page = h.history(aged.portal[0], limit=2)
        aged.expire()
        h.retain()
        new = verify_checkpoint(h.checkpoint(), aged.key)
        assert new.size == old.size + 1
        verify_consistency(old.size, old.root, new.size, new.root, h.consistency(old.size, new.size))
        verify_consistency(7, _root(h, 7), new.size, new.root, h.consistency(7, new.size))
        h.export_tiles(tiles)
        h.export_tiles(tmp_path / "fresh")
        # A cursor into what was erased since goes on, with nothing.
        assert h.history(aged.portal[0], cursor=page.cursor).records == []
        assert 63 <= verify_proof(h.history(aged.portal[0]).proof(1).text(), aged.key).index < 83
        fresh = h.history(aged.portal[0])
    assert {verify_proof(text, aged.key).index < old.size for text in texts} == {True}
    assert all(path.read_bytes() == content for path, content in earlier.items())
    assert (tmp_path / "fresh" / "checkpoint").read_text() == (tiles / "checkpoint").read_text()
    assert len(fresh) == 2


def _root(h: hub.Hub, size: int) -> bytes:
    from hub.records.log import StoredTree
    from hub.tlog.tree import root

    with h._store.snapshot() as snapshot:
        return root(StoredTree(snapshot, "", size), size)


def test_the_erasure_is_itself_a_record_and_in_nobodys_history(aged: Aged) -> None:
    aged.expire()
    with aged.open() as h:
        h.retain()
        with h._store.snapshot() as snapshot:
            erasure = retain.read_erasures(snapshot)[0]
            bodies = hub.methods.showing.Bodies(snapshot, h._periods, h._heads)
            (told,) = bodies.read([erasure.recorded])
        assert (erasure.first, erasure.end, erasure.recorded) == (0, 63, 88)
        assert (told.kind, told.person) == (hub.Kind.ERASURE, 2**32 - 1)
        assert told.chunk.shared[0].items[:2] == ("2026Q4", "records 0 to 62")
        for alias in aged.portal:
            assert all(record.kind == hub.Kind.INQUIRY for record in h.history(alias).records)


def test_a_dry_run_changes_nothing(aged: Aged) -> None:
    aged.expire()
    before = (aged.folder / "env" / "data.mdb").read_bytes()
    with aged.open(readonly=True) as h:
        listed = h.retention()
    assert [(one.period, one.records, one.due) for one in listed] == [
        ("2026Q4", 63, True), ("2027Q1", 20, False), ("2034Q1", 5, False),
    ]  # fmt: skip
    assert listed[0].expires_at.timestamp() == EXPIRY
    assert (aged.folder / "env" / "data.mdb").read_bytes() == before
    assert sorted(path.name for path in (aged.folder / "keys" / "periods").iterdir())[0] == "2026Q4.key"


def test_a_clock_that_was_set_back_erases_nothing_early_and_one_that_jumped_must_be_confirmed(aged: Aged) -> None:
    with aged.open() as h:
        aged.now = START
        assert h.retain().periods == ()
        aged.now = EXPIRY - 1 + RETAIN_AHEAD_DAYS_MAX * DAY
        assert h.retain().periods == ("2026Q4",)
        aged.now = expires_at(OLD + 1) + RETAIN_AHEAD_DAYS_MAX * DAY * 4
        with pytest.raises(RequestError, match="ahead of the last record"):
            h.retain()
        assert [one.done for one in h.retention()][:2] == [True, False]
        assert h.retain(confirm=True).periods == ("2027Q1",)


def test_many_periods_at_once_must_be_confirmed(tmp_path: Path) -> None:
    aged = Aged(tmp_path / "hub")
    with aged.open() as h:
        for _ in range(RETAIN_PERIODS_MAX):
            aged.now += 95 * DAY
            aged.ask(h, f"later {aged.now}", 2, "later")
        aged.now = expires_at(period_of(int(aged.now)) - 1)
        aged.ask(h, "last", 1, "last")
        with pytest.raises(RequestError, match="at most 2 periods"):
            h.retain()
        assert len(h.retain(confirm=True).periods) > RETAIN_PERIODS_MAX
        assert h.verify().problems == ()


def test_only_one_thread_erases(aged: Aged) -> None:
    aged.expire()
    with aged.open() as h:
        def again(_: int) -> None:
            with pytest.raises(BusyError):
                h.retain()

        assert h.retain(progress=again).periods == ("2026Q4",)


def test_another_process_shows_nothing_more_once_the_key_is_gone(aged: Aged) -> None:
    child = (
        "import sys, hub\n"
        "alias = bytes.fromhex(sys.argv[2])\n"
        "with hub.open(sys.argv[1], readonly=True) as h:\n"
        "    for line in sys.stdin:\n"
        "        print(len(h.history(alias)), len(h._periods._known), len(h._heads._kept), flush=True)\n"
    )
    words = [sys.executable, "-c", child, str(aged.folder), aged.portal[0].tobytes().hex()]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def look() -> list[int]:
            process.stdin.write("\n")
            process.stdin.flush()
            return [int(word) for word in process.stdout.readline().split()]

        assert look() == [4, 3, 4]
        aged.expire()
        with aged.open() as h:
            h.retain()
            assert look()[:2] == [2, 2]
        process.stdin.close()


def test_a_history_under_way_when_a_period_goes_skips_it(aged: Aged) -> None:
    from hub.history import find_records, person_keys

    with aged.open() as h:
        with h._store.snapshot() as snapshot:
            person = h._find_citizen(snapshot, aged.portal[0])
            keys = person_keys(h._periods, person)
            h.history(aged.portal[0])
            bodies = hub.methods.showing.Bodies(snapshot, h._periods, h._heads)
            h._periods.shred(OLD)
            found = [one for some in find_records(snapshot, bodies, keys, person, 2**62, batch=10) for one in some]
            # Its heads were read before and are still in memory: another reader does not get one either.
            assert h._heads.find(0, int.from_bytes(snapshot.get("records", bytes(8))[:8], "little")) is None
        assert [one.index >= 63 for one in found] == [True, True]


def test_a_head_that_stays_in_memory_is_not_served_once_the_key_is_gone(aged: Aged) -> None:
    with aged.open() as h, h._store.snapshot() as snapshot:
        chunk = hub.methods.showing.Bodies(snapshot, h._periods, h._heads).locate(0).chunk
        h._periods.shred(OLD)
        assert h._heads.find(0, int.from_bytes(snapshot.get("records", bytes(8))[:8], "little")) is chunk
        with pytest.raises(KeyGoneError):
            hub.methods.showing.Bodies(snapshot, h._periods, h._heads).locate(0)


def test_a_key_that_no_record_used_goes_with_its_time_too(aged: Aged) -> None:
    unused = OLD + 2
    with aged.open() as h:
        h._periods.make(unused)
        aged.now = expires_at(unused) - 1
        h.retain(confirm=True)
        assert unused in h._periods.periods()
        aged.now += 1
        h.retain(confirm=True)
        assert unused not in h._periods.periods()


def test_opening_for_writing_unlinks_the_key_of_an_erasure_that_was_entered(
    aged: Aged, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged.expire()
    with aged.open() as h:
        with monkeypatch.context() as patch:
            patch.setattr(hub.storage.periods.PeriodKeys, "shred", _stop)
            with pytest.raises(StopError):
                h.retain()
        assert OLD in h._periods.periods()
    with aged.open(readonly=True) as h:
        assert OLD in h._periods.periods()
    with aged.open() as h:
        assert OLD not in h._periods.periods()
        assert sections(h, aged.portal[0]) == ["Section of today", "Section that is kept"]
        assert [one.under_way for one in h.retention()] == [True, False, False]


# -- what a verification says


def forge(folder: Path, change: Callable[[lmdb.Transaction, Callable[[bytes], object]], None]) -> None:
    env = lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256, lib_version=0)
    with env, env.begin(write=True) as txn:
        change(txn, lambda name: env.open_db(name, txn=txn, create=False))


def test_a_body_that_is_missing_elsewhere_is_named(aged: Aged) -> None:
    aged.expire()
    with aged.open() as h:
        h.retain()
    forge(aged.folder, lambda txn, db: txn.delete((63).to_bytes(8, "big"), db=db(b"records")))
    with aged.open(readonly=True) as h:
        assert any("record 63" in problem for problem in h.verify().problems)


def test_a_body_that_came_back_and_a_changed_entry_of_what_was_erased_are_named(aged: Aged, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(aged.folder, backup)
    shutil.copy(default_head(aged.folder), default_head(backup))
    kept: list[bytes] = []
    forge(backup, lambda txn, db: kept.append(bytes(txn.get(bytes(8), db=db(b"records")))))
    aged.expire()
    with aged.open() as h:
        h.retain()
    forge(aged.folder, lambda txn, db: txn.put(bytes(8), kept[0], db=db(b"records")))
    with aged.open(readonly=True) as h:
        assert h.verify().problems == ("erasure of 2026Q4: expected no body in its range, found one at record 0",)

    def damage(txn: lmdb.Transaction, db: Callable[[bytes], object]) -> None:
        txn.delete(bytes(8), db=db(b"records"))
        body = bytearray(txn.get(bytes(8), db=db(b"entries"))[8:])
        body[32 * 3] ^= 1
        txn.put(bytes(8), seal("entries", bytes(8), bytes(body)), db=db(b"entries"))

    forge(aged.folder, damage)
    with aged.open(readonly=True) as h:
        assert any("record 0: expected the node" in problem for problem in h.verify().problems)


def test_an_erasure_that_no_record_tells_of_is_named(aged: Aged) -> None:
    aged.expire()
    with aged.open() as h:
        h.retain()

    def claim(txn: lmdb.Transaction, db: Callable[[bytes], object]) -> None:
        erasure = retain.Erasure(1, OLD + 1, 63, 83, 88, EXPIRY * 2, EXPIRY * 2, 0)
        txn.put(erasure.key, seal("erasures", erasure.key, msgspec.msgpack.encode(erasure)), db=db(b"erasures"))

    forge(aged.folder, claim)
    with aged.open(readonly=True) as h:
        assert any("expected" in problem and "2027Q1" in problem for problem in h.verify().problems)


# -- legal holds


def test_what_a_hold_names_is_copied_out_proven_and_shredded_with_its_end(aged: Aged) -> None:
    until = dt.date(2034, 6, 30)
    end = int(dt.datetime(2034, 7, 1, tzinfo=JAPAN_TIME).timestamp())
    with aged.open() as h:
        inquiry = h.history(aged.portal[0]).records[-1].inquiry
        one = h.hold(ground="court order", until=until, by="office", inquiry=inquiry)
        person = h.hold(ground="court order", until=until, by="office", portal_alias=aged.portal[1])
        days = h.hold(ground="audit", until=until, by="office", requester="nenkin", since=dt.date(2026, 11, 21))
        released = h.hold(ground="audit", until=until, by="office", requester="nenkin")
        h.release_hold(released.number, ground="done", by="office")
        aged.expire()
        done = h.retain()
        assert (done.copied, done.holds_ended) == (62, 1)
        counts = [len(list(h.held(hold.number))) for hold in (one, person, days)]
        assert counts == [60, 2, 0]
        held = list(h.held(one.number))
        assert {(record.record.section, record.operator) for record in held} == {(SECTION, "clerk")}
        assert {record.case for record in held} == {f"case old-1 {row}" for row in range(60)}
        for record in held[:5]:
            assert verify_proof(record.proof.text(), aged.key).index == record.proof.index == record.record.index
        with pytest.raises(RequestError, match="over"):
            h.held(released.number)
        assert h.verify().problems == ()
        assert not contains(aged.folder, SECTION)
        h.extend_hold(person.number, until=dt.date(2034, 7, 1), ground="appeal", by="office")
        aged.now = end - 1
        assert h.retain(confirm=True).holds_ended == 0
        aged.now = end
        assert h.retain(confirm=True).holds_ended == 2
        assert [event.what for event in h.holds()[1].events] == ["set", "extended"]
        # The next quarter has expired meanwhile, with one more record of hers.
        assert len(list(h.held(person.number))) == 3
        assert (aged.folder / "keys" / "holds" / "2.key").stat().st_mode & 0o777 == 0o600
        assert sorted(path.name for path in (aged.folder / "keys" / "holds").iterdir()) == ["2.key"]
        with h._store.snapshot() as snapshot:
            assert {key[:4] for key, _ in snapshot.items("held", b"")} == {(2).to_bytes(4, "big")}
        assert h.verify().problems == ()


def test_a_hold_that_comes_while_its_records_are_copied_gets_them(aged: Aged, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = retain.copy_held
    with aged.open() as h:
        def late(*arguments: object) -> object:
            if not h.holds():
                copied = copy(*arguments)  # type: ignore[arg-type]
                h.hold(ground="late", until=dt.date(2035, 1, 1), by="office", requester="nenkin")
                return copied
            return copy(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(retain, "copy_held", late)
        aged.expire()
        assert h.retain().copied == 63
        assert len(list(h.held(1))) == 63


def test_a_hold_needs_a_ground_an_end_and_something_named(aged: Aged) -> None:
    good = {"ground": "g", "until": dt.date(2034, 6, 30), "by": "b", "requester": "nenkin"}
    today = dt.datetime.fromtimestamp(EXPIRY - 1, JAPAN_TIME).date()
    with aged.open() as h:
        for wrong in (
            {"ground": ""}, {"ground": "x" * 401}, {"by": " "}, {"requester": None}, {"requester": "nobody"},
            {"until": today - dt.timedelta(days=1)}, {"until": today.replace(year=today.year + 11)},
            {"until": "2034-06-30"}, {"inquiry": "xy"}, {"inquiry": "00" * 7}, {"portal_alias": "00" * 16},
            {"since": dt.date(2027, 1, 2), "last": dt.date(2027, 1, 1)},
        ):  # fmt: skip
            with pytest.raises((RequestError, hub.errors.CatalogError)):
                h.hold(**{**good, **wrong})  # type: ignore[arg-type]
        assert h.holds() == []
        assert h.hold(**{**good, "until": today, "ground": "x" * 400}).number == 1  # type: ignore[arg-type]
        for number in (0, 2, True, "1", 2**40):
            with pytest.raises(RequestError, match="hold"):
                h.release_hold(number, ground="g", by="b")  # type: ignore[arg-type]
            with pytest.raises(RequestError, match="hold"):
                h.held(number)  # type: ignore[arg-type]


def test_a_damaged_copy_is_named(aged: Aged) -> None:
    aged.expire()
    with aged.open() as h:
        h.hold(ground="g", until=dt.date(2035, 1, 1), by="b", requester="nenkin")
        h.retain()
        with h._store.snapshot() as snapshot:
            key, value = snapshot.items("held", b"", limit=1)[0]
            raw = bytearray(value[8:])
    raw[40] ^= 1
    forge(aged.folder, lambda txn, db: txn.put(key, seal("held", key, bytes(raw)), db=db(b"held")))
    with aged.open(readonly=True) as h:
        assert "hold 1: expected what its key encrypted, got something else" in h.verify().problems
        with pytest.raises(StorageError):
            list(h.held(1))


# -- cut off anywhere


class StopError(Exception):
    pass


def _stop(*_: object) -> None:
    raise StopError


STEPS = ["copy_held", "append_records", "put_erasure", "drop_period", "_drop_bodies"]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", [*STEPS, "publish", "shred", "rename", "unlink"])
def test_cut_off_at_any_step_it_goes_on(aged: Aged, monkeypatch: pytest.MonkeyPatch, step: str, after: bool) -> None:
    places = {"publish": hub.records.log.Log, "shred": hub.storage.periods.PeriodKeys, "rename": Path, "unlink": Path}
    place = places.get(step, retain)
    call = getattr(place, step)

    def stop(*arguments: object, **words: object) -> None:
        if after:
            call(*arguments, **words)
        raise StopError

    aged.expire()
    with aged.open() as h:
        h.hold(ground="g", until=dt.date(2035, 1, 1), by="b", inquiry=h.history(aged.portal[0]).records[-1].inquiry)
        with monkeypatch.context() as patch:
            patch.setattr(place, step, stop)
            with pytest.raises(StopError):
                h.retain()
    with aged.open(readonly=True) as h:
        assert h.verify().problems == (), "between"
        h.history(aged.portal[0])
    with aged.open() as h:
        h.retain()
        assert sections(h, aged.portal[0]) == ["Section of today", "Section that is kept"]
        assert len(list(h.held(1))) == 60
        assert h.verify().problems == ()
        assert next(one.done for one in h.retention())
        with h._store.snapshot() as snapshot:
            assert len(retain.read_erasures(snapshot)) == 1
    assert not any("2026Q4" in path.name for path in (aged.folder / "keys" / "periods").iterdir())
