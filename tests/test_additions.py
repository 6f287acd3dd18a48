"""Acquisitions too large for one transaction: decided at once, completed in parts, also by the next process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hub
from hub.acquisition import additions
from hub.errors import StorageError
from hub.messages import Acquisition, Status
from hub.storage.snapshot import Commit

N = 30_000


@pytest.fixture(autouse=True)
def small_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(additions, "COMMIT_BYTES_MAX", 200_000)
    monkeypatch.setattr(additions, "ROWS_PER_PART", 7_000)
    monkeypatch.setattr(additions, "_STAGING_BYTES", 600_000)


def check_whole(h: hub.Hub, codes: np.ndarray, town: str) -> None:
    """Every person has one alias at each of the two, and the tables agree."""
    mine, theirs = h.acquire("nenkin", codes), h.acquire(town, codes)
    assert (mine.status == Acquisition.ALREADY).all()
    resolved = h.resolve("nenkin", town, mine.aliases)
    assert not resolved.status.any()
    assert (resolved.aliases == theirs.aliases).all()
    back = h.resolve(town, "nenkin", theirs.aliases)
    assert (back.aliases == mine.aliases).all()
    stats = h.stats()
    assert (stats["persons"], stats["resident_codes"]) == (len(codes), len(codes))
    assert stats["aliases"] == {"nenkin": len(codes), town: len(codes)}


def test_a_large_acquisition_takes_many_commits_and_ends_as_one(opened: hub.Hub, town: str) -> None:
    codes = np.arange(N, dtype=np.int64)
    assert (opened.acquire("nenkin", codes[:10_000]).status == Acquisition.CREATED).all()
    before = opened.stats()["commits"]
    assert (opened.acquire("nenkin", codes).status[10_000:] == Acquisition.CREATED).all()
    assert opened.stats()["commits"] - before > 20
    opened.acquire(town, codes)
    check_whole(opened, codes, town)
    with opened._store.snapshot() as snapshot:
        assert snapshot.items("pending", b"") == []


@pytest.mark.parametrize("stop_after", [0, 1, 2, 3, 5, 8, 10, 12])
def test_what_was_decided_is_completed_by_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    codes, done = np.arange(N, dtype=np.int64), []
    put = Commit.put_block

    def put_or_die(self: Commit, *arguments: object) -> None:
        if len(done) == stop_after * 10:
            raise KeyboardInterrupt
        done.append(1)
        put(self, *arguments)  # type: ignore[arg-type]

    with hub.open(tmp_path / "h", create=True) as h:
        town = h.catalog.institutions("市町村長")[0].code
        h.acquire("nenkin", codes[:10_000])
        monkeypatch.setattr(Commit, "put_block", put_or_die)
        with pytest.raises(KeyboardInterrupt):
            h.acquire("nenkin", codes)
        monkeypatch.setattr(Commit, "put_block", put)
    with hub.open(tmp_path / "h") as h:
        assert h.stats()["aliases"] == {"nenkin": N}
        h.acquire(town, codes)
        check_whole(h, codes, town)


def test_the_same_process_completes_it_before_it_acquires_more(
    opened: hub.Hub, town: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.arange(N, dtype=np.int64)
    put, done = Commit.put_block, []

    def put_or_fail(self: Commit, *arguments: object) -> None:
        done.append(1)
        if len(done) == 40:
            raise StorageError("write: no space left", retry_safe=True)
        put(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Commit, "put_block", put_or_fail)
    with pytest.raises(StorageError):
        opened.acquire("nenkin", codes)
    opened.acquire(town, codes[:10])
    assert opened.stats()["aliases"] == {"nenkin": N, town: 10}
    opened.acquire(town, codes)
    check_whole(opened, codes, town)


def test_an_inquiry_between_the_parts_sees_each_row_whole_or_not_at_all(
    opened: hub.Hub, town: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.arange(N, dtype=np.int64)
    aliases = opened.acquire("nenkin", codes).aliases
    finish, seen = hub.hub.Store._finish, []

    def look(self: object, commit: Commit) -> None:
        finish(self, commit)  # type: ignore[arg-type]
        if len(seen) < 30:
            found = opened.resolve("nenkin", town, aliases[:500])
            assert set(np.unique(found.status).tolist()) <= {Status.OK, Status.NO_ALIAS_AT_PROVIDER}
            seen.append((found.aliases.copy(), found.status.copy()))

    monkeypatch.setattr(hub.hub.Store, "_finish", look)
    final = opened.acquire(town, codes).aliases[:500]
    monkeypatch.setattr(hub.hub.Store, "_finish", finish)
    assert len(seen) > 3
    for got, status in seen:
        assert (got[status == Status.OK] == final[status == Status.OK]).all()


def test_a_damaged_addition_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.arange(N, dtype=np.int64)
    with hub.open(tmp_path / "h", create=True) as h:
        monkeypatch.setattr(additions, "_complete", lambda *_: None)
        h.acquire("nenkin", codes)
        monkeypatch.undo()
        with h._store.commit() as commit:
            key = bytes(8)
            value = bytearray(commit.txn.get(key, db=h._store.databases["pending"]))
            value[100] ^= 1
            commit.put("pending", key, bytes(value))
    with pytest.raises(StorageError, match="pending"):
        hub.open(tmp_path / "h")


def test_a_seed_draws_the_same_aliases_from_any_place_on() -> None:
    seed, n = additions.fresh_seed(), 70_000
    whole, rest = np.empty((n, 16), np.uint8), np.empty((n - 40_001, 16), np.uint8)
    seed.draw(whole)
    seed.after(40_001).draw(rest)
    assert (whole[40_001:] == rest).all()
    assert len(np.unique(whole.view(np.uint64)[:, 0])) == n
    last = additions.Seed(seed.key, b"\xff" * 16)
    last.draw(whole[:2])
    last.after(1).draw(rest[:1])
    assert (whole[1] == rest[0]).all()


def test_what_is_drawn_again_after_a_crash_is_what_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.arange(N, dtype=np.int64)
    with hub.open(tmp_path / "h", create=True) as h:
        h.acquire("portal", codes[: N // 2])
        monkeypatch.setattr(additions, "_complete", lambda *_: None)
        # Half of them known and half new, so that persons are listed in one part of ``pending`` and not in another.
        answered = h.acquire("nenkin", np.roll(codes, 1_000))
        monkeypatch.undo()
    with hub.open(tmp_path / "h") as h:
        again = h.acquire("nenkin", np.roll(codes, 1_000))
        assert (again.status == Acquisition.ALREADY).all()
        assert (again.aliases == answered.aliases).all()
        assert h.stats()["persons"] == N


def test_codes_that_repeat_in_a_large_call_are_created_once(opened: hub.Hub, town: str) -> None:
    random = np.random.default_rng(5)
    codes = random.integers(0, N, 2 * N)
    for who, known in ((town, codes[:0]), ("nenkin", codes[:N])):
        before = opened.acquire(who, known).aliases
        acquired = opened.acquire(who, codes)
        seen, aliases = set(known.tolist()), dict(zip(known.tolist(), before.tolist(), strict=True))
        for code, alias, status in zip(
            codes.tolist(), acquired.aliases.tolist(), acquired.status.tolist(), strict=True
        ):
            assert status == (Acquisition.ALREADY if code in seen else Acquisition.CREATED)
            assert aliases.setdefault(code, alias) == alias
            seen.add(code)
        assert len({tuple(alias) for alias in aliases.values()}) == len(seen)
