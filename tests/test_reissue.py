"""Aliases that end: reissued after a leak, or revoked; who asks with them, before, meanwhile and after."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hub
from hub import _blocks, limits
from hub.acquisition import additions, reissue
from hub.aliases import BY_ALIAS, find_persons
from hub.errors import RequestError, StorageError
from hub.messages import Acquisition, Status
from hub.storage.snapshot import Commit
from inquiries import tax_inquiry

N = 100


class Bodies:
    """nenkin and a town, each with aliases of the same persons."""

    def __init__(self, h: hub.Hub, town: str, codes: np.ndarray) -> None:
        self.h, self.town, self.codes = h, town, codes
        self.mine = h.acquire("nenkin", codes).aliases
        self.theirs = h.acquire(town, codes).aliases

    def asked(self, aliases: np.ndarray) -> list[int]:
        """The statuses when nenkin asks the town."""
        return self.h.resolve("nenkin", self.town, aliases).status.tolist()

    def answered(self) -> list[int]:
        """The statuses when the town asks nenkin, which then is the provider."""
        return self.h.resolve(self.town, "nenkin", self.theirs).status.tolist()


@pytest.fixture
def bodies(opened: hub.Hub, town: str, codes: np.ndarray) -> Bodies:
    return Bodies(opened, town, codes)


def test_a_reissued_alias_is_revoked_and_another_leads_to_the_same_person(bodies: Bodies) -> None:
    h, commits = bodies.h, bodies.h.stats()["commits"]
    made = h.reissue("nenkin", bodies.mine[:30].copy())
    assert h.stats()["commits"] == commits + 1
    assert made.status.tolist() == [Acquisition.CREATED] * 30
    assert bodies.asked(bodies.mine) == [Status.REVOKED] * 30 + [Status.OK] * 70
    assert (h.resolve("nenkin", bodies.town, made.aliases).aliases == bodies.theirs[:30]).all()
    back = h.resolve(bodies.town, "nenkin", bodies.theirs)
    assert (back.aliases == np.concatenate((made.aliases, bodies.mine[30:]))).all()
    assert not {tuple(a) for a in made.aliases.tolist()} & {tuple(a) for a in bodies.mine.tolist()}
    again = h.acquire("nenkin", bodies.codes)
    assert (again.status == Acquisition.ALREADY).all()
    assert (again.aliases[:30] == made.aliases).all()
    assert h.stats()["aliases"]["nenkin"] == N
    assert h.verify().ok


def test_asked_again_a_reissue_tells_the_alias_that_holds_now(bodies: Bodies) -> None:
    first = bodies.h.reissue("nenkin", bodies.mine)
    again = bodies.h.reissue("nenkin", bodies.mine)
    assert again.status.tolist() == [Acquisition.ALREADY] * N
    assert (again.aliases == first.aliases).all()
    second = bodies.h.reissue("nenkin", first.aliases)
    again = bodies.h.reissue("nenkin", bodies.mine)
    assert again.status.tolist() == [Acquisition.ALREADY] * N
    assert (again.aliases == second.aliases).all()


def test_rows_of_one_person_get_one_alias(bodies: Bodies) -> None:
    old = bodies.h.reissue("nenkin", bodies.mine[:1].copy()).aliases
    made = bodies.h.reissue("nenkin", np.concatenate((bodies.mine[:2], old, old, bodies.mine[1:2])))
    created, already = Acquisition.CREATED, Acquisition.ALREADY
    assert made.status.tolist() == [already, created, created, already, already]
    assert (made.aliases[[0, 2, 3]] == made.aliases[2]).all()
    assert (made.aliases[1] == made.aliases[4]).all()
    assert bodies.h.stats()["aliases"]["nenkin"] == N


def test_a_revoked_alias_ends_and_an_acquisition_gives_another(bodies: Bodies) -> None:
    h, commits = bodies.h, bodies.h.stats()["commits"]
    assert h.revoke("nenkin", bodies.mine[:40].copy()) == 40
    assert h.stats()["commits"] == commits + 1
    assert bodies.asked(bodies.mine) == [Status.REVOKED] * 40 + [Status.OK] * 60
    assert bodies.answered() == [Status.NO_ALIAS_AT_PROVIDER] * 40 + [Status.OK] * 60
    assert h.stats()["aliases"]["nenkin"] == 60
    assert h.verify().ok
    assert h.revoke("nenkin", bodies.mine[:41].copy()) == 1
    again = h.acquire("nenkin", bodies.codes)
    assert again.status.tolist() == [Acquisition.CREATED] * 41 + [Acquisition.ALREADY] * 59
    assert bodies.asked(bodies.mine) == [Status.REVOKED] * 41 + [Status.OK] * 59
    assert bodies.answered() == [Status.OK] * N
    # Nothing leads from an alias that was revoked to the one that came after it.
    assert h.reissue("nenkin", bodies.mine[:41].copy()).status.tolist() == [Acquisition.NONE] * 41
    assert h.verify().ok


def test_everybody_may_be_revoked_and_come_back(bodies: Bodies) -> None:
    assert bodies.h.revoke("nenkin", np.concatenate((bodies.mine, bodies.mine))) == N
    assert bodies.h.stats()["aliases"]["nenkin"] == 0
    assert bodies.h.verify().ok
    assert bodies.answered() == [Status.NO_ALIAS_AT_PROVIDER] * N
    assert bodies.h.acquire("nenkin", bodies.codes).status.tolist() == [Acquisition.CREATED] * N
    assert bodies.answered() == [Status.OK] * N


def test_what_is_not_this_institutions_alias_changes_nothing(bodies: Bodies) -> None:
    commits = bodies.h.stats()["commits"]
    strangers = np.concatenate((bodies.theirs, np.zeros((1, 16), np.uint8), np.full((1, 16), 255, np.uint8)))
    made = bodies.h.reissue("nenkin", strangers)
    assert made.status.tolist() == [Acquisition.NONE] * (N + 2)
    assert not made.aliases.any()
    assert bodies.h.revoke("nenkin", strangers) == 0
    assert len(bodies.h.reissue("nenkin", strangers[:0])) == 0
    assert bodies.h.revoke("011002", strangers[:0]) == 0
    assert bodies.h.stats()["commits"] == commits


def test_an_acquisition_that_was_cut_off_is_completed_before_its_aliases_end(
    opened: hub.Hub, town: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = np.arange(5_000, dtype=np.int64)
    theirs = opened.acquire(town, codes).aliases
    monkeypatch.setattr(additions, "COMMIT_BYTES_MAX", 100_000)
    monkeypatch.setattr(additions, "_complete", lambda *_: None)
    mine = opened.acquire("nenkin", codes).aliases
    monkeypatch.undo()
    assert opened.stats()["aliases"].get("nenkin", 0) == 0
    made = opened.reissue("nenkin", mine[:3_000].copy())
    assert made.status.tolist() == [Acquisition.CREATED] * 3_000
    assert opened.revoke("nenkin", mine) == 2_000
    assert opened.stats()["aliases"]["nenkin"] == 3_000
    assert set(opened.resolve("nenkin", town, mine).status.tolist()) == {Status.REVOKED}
    assert (opened.resolve("nenkin", town, made.aliases).aliases == theirs[:3_000]).all()
    assert opened.verify().ok


def test_a_read_only_hub_ends_nothing(tmp_path: Path, codes: np.ndarray) -> None:
    with hub.open(tmp_path / "h", create=True) as h:
        mine = h.acquire("nenkin", codes).aliases
    with hub.open(tmp_path / "h", readonly=True) as h:
        for call in (h.reissue, h.revoke):
            with pytest.raises(RequestError, match="read-only"):
                call("nenkin", mine)
        assert h.acquire("nenkin", codes).status.tolist() == [Acquisition.ALREADY] * N


def test_flags_of_a_person_go_on_with_the_new_alias(bodies: Bodies) -> None:
    store, number = bodies.h._store, bodies.h.catalog.institution("nenkin").number
    persons = np.arange(N, dtype=np.uint32)
    flags = additions.Addition(number, bodies.mine, persons, edits=np.full(N, _blocks.MARK | 5, np.uint16))
    with store.acquiring, store.commit() as commit, store.snapshot() as snapshot:
        parts = additions.cut_parts(snapshot, flags, BY_ALIAS, commit.state.commit)
        additions.put_parts(commit, parts, bodies.h._workers)
    made = bodies.h.reissue("nenkin", bodies.mine)
    with store.snapshot() as snapshot:
        assert (find_persons(snapshot, number, made.aliases, bodies.h._workers)[1] == 5).all()
        assert (find_persons(snapshot, number, bodies.mine, bodies.h._workers)[1] == 5 + 64 + 128).all()


def test_a_full_call_is_accepted_and_one_row_more_refused(bodies: Bodies) -> None:
    most = limits.ROWS_PER_REISSUE_MAX
    rows = np.random.default_rng(1).integers(0, 256, (most + 1, 16), np.uint8)
    rows[:N] = bodies.mine
    assert np.bincount(bodies.h.reissue("nenkin", rows[:most]).status).tolist() == [most - N, N]
    commits = bodies.h.stats()["commits"]
    for call in (bodies.h.reissue, bodies.h.revoke):
        with pytest.raises(RequestError, match="aliases: expected at most 65536 rows"):
            call("nenkin", rows)
    assert bodies.h.stats()["commits"] == commits


def test_large_tables_take_as_many_rows_as_fit_one_transaction() -> None:
    budget = limits.REISSUE_BYTES_MAX // additions.BLOCK_BYTES
    assert reissue.rows_max(0, 0) == limits.ROWS_PER_REISSUE_MAX
    for by_alias, by_person in ((budget // 2, budget // 2), (10_000, 15_000), (15_000, 7_000), (80_000, 75_000)):
        rows = reissue.rows_max(by_alias, by_person)

        def blocks(n: int, by_alias: int = by_alias, by_person: int = by_person) -> int:
            return min(2 * n, by_alias) + min(n, by_person)

        assert blocks(rows) <= budget
        assert rows == limits.ROWS_PER_REISSUE_MAX or blocks(rows + 1) > budget
    assert reissue.rows_max(80_000, 75_000) == 7_281


def test_a_citizens_history_goes_on_under_the_new_alias(bodies: Bodies) -> None:
    h = bodies.h
    portal = h.acquire("portal", bodies.codes[:1]).aliases
    h.inquire(tax_inquiry("before"), bodies.mine[:1], bodies.town)
    made = h.reissue("portal", portal).aliases
    mine = h.reissue("nenkin", bodies.mine[:1].copy()).aliases
    h.inquire(tax_inquiry("after"), np.concatenate((mine, bodies.mine[:1])), bodies.town)
    with pytest.raises(RequestError, match="alias: expected one of the portal's"):
        h.history(portal[0])
    outcomes = [record.outcome for record in h.history(made[0]).records]
    assert sorted(outcomes) == [Status.OK, Status.OK, Status.REVOKED]


def test_a_chunk_that_was_resolved_before_a_reissue_is_resolved_again(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    h, prepare, calls = bodies.h, hub.Hub._prepare, []

    def prepare_then_reissue(self: hub.Hub, *arguments: Any) -> Any:
        prepared = prepare(self, *arguments)
        calls.append(1)
        if len(calls) == 1:
            h.reissue("nenkin", bodies.mine[:10].copy())
            h.revoke(bodies.town, bodies.theirs[10:20].copy())
        return prepared

    monkeypatch.setattr(hub.Hub, "_prepare", prepare_then_reissue)
    # With a progress it is no small call, and goes the way of a chunk.
    answer = h.inquire(tax_inquiry("bulk"), bodies.mine, bodies.town, progress=lambda done: None)
    assert len(calls) == 2
    assert answer.status.tolist() == [Status.REVOKED] * 10 + [Status.NO_ALIAS_AT_PROVIDER] * 10 + [Status.OK] * 80
    assert h.verify().ok


def test_a_group_that_was_resolved_before_a_reissue_is_resolved_again(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    h, gatherer, calls = bodies.h, bodies.h._gathering(), []
    lay = type(gatherer)._lay

    def lay_then_reissue(self: Any, *arguments: Any) -> Any:
        laid = lay(self, *arguments)
        calls.append(1)
        if len(calls) == 1:
            h.reissue("nenkin", bodies.mine[:10].copy())
            h.revoke(bodies.town, bodies.theirs[10:20].copy())
        return laid

    monkeypatch.setattr(type(gatherer), "_lay", lay_then_reissue)
    answer = h.inquire(tax_inquiry("small"), bodies.mine, bodies.town)
    assert len(calls) == 2
    assert answer.status.tolist() == [Status.REVOKED] * 10 + [Status.NO_ALIAS_AT_PROVIDER] * 10 + [Status.OK] * 80
    assert h.verify().ok


READER = """
import sys, hub, numpy as np
with hub.open(sys.argv[1], readonly=True) as h:
    for line in sys.stdin:
        aliases = np.frombuffer(bytes.fromhex(line), np.uint8).reshape(-1, 16)
        print(*h.resolve("nenkin", sys.argv[2], aliases).status.tolist(), flush=True)
"""


def test_another_process_sees_a_reissue_at_its_next_read(bodies: Bodies, tmp_path: Path) -> None:
    command = [sys.executable, "-c", READER, str(tmp_path / "hub"), bodies.town]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:

        def asked(aliases: np.ndarray) -> list[int]:
            assert reader.stdin is not None
            assert reader.stdout is not None
            reader.stdin.write(aliases.tobytes().hex() + "\n")
            reader.stdin.flush()
            return list(map(int, reader.stdout.readline().split()))

        assert asked(bodies.mine) == [Status.OK] * N
        made = bodies.h.reissue("nenkin", bodies.mine[:10].copy())
        assert asked(bodies.mine) == [Status.REVOKED] * 10 + [Status.OK] * 90
        assert asked(made.aliases) == [Status.OK] * 10
        bodies.h.revoke(bodies.town, bodies.theirs[20:30].copy())
        assert asked(bodies.mine) == [2] * 10 + [0] * 10 + [3] * 10 + [0] * 70


@pytest.mark.parametrize("what", ["reissue", "revoke"])
def test_a_step_that_fails_keeps_nothing_of_the_call(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    h, put_block, put = bodies.h, Commit.put_block, Commit.put
    before = h.stats()

    def fail_at(name: str, step: int) -> None:
        left = [step]

        def put_or_fail(self: Commit, *arguments: Any) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise StorageError("write: no space left", retry_safe=True)
            (put_block if name == "put_block" else put)(self, *arguments)

        monkeypatch.setattr(Commit, name, put_or_fail)

    for name in ("put_block", "put"):
        for step in range(2):
            fail_at(name, step)
            with pytest.raises(StorageError):
                getattr(h, what)("nenkin", bodies.mine)
            monkeypatch.undo()
            assert h.stats() == {**before, "bytes_on_disk": h.stats()["bytes_on_disk"]}
            assert bodies.asked(bodies.mine) == [Status.OK] * N
            assert h.verify().ok
    getattr(h, what)("nenkin", bodies.mine)
    assert bodies.asked(bodies.mine) == [Status.REVOKED] * N


def test_tables_that_disagree_fail_a_reissue_and_keep_nothing(bodies: Bodies) -> None:
    store, number = bodies.h._store, bodies.h.catalog.institution("nenkin").number
    gone = additions.Addition(
        number, bodies.mine[:1], np.zeros(1, np.uint32), edits=np.full(1, _blocks.REMOVE, np.uint16)
    )
    with store.commit() as commit, store.snapshot() as snapshot:
        additions.put_parts(commit, additions.cut_parts(snapshot, gone, 1, commit.state.commit), bodies.h._workers)
    assert any("expected 100 entries, found 99" in problem for problem in bodies.h.verify().problems)
    with pytest.raises(StorageError, match="expected the entries that are to change"):
        bodies.h.reissue("nenkin", bodies.mine)
    assert bodies.asked(bodies.mine[1:]) == [Status.OK] * 99


class Model:
    """One institution as two dicts: who has which alias, and what became of those that ended."""

    def __init__(self) -> None:
        self.alias_of: dict[int, bytes] = {}
        self.ended: dict[bytes, tuple[int, bool]] = {}

    def acquire(self, codes: list[int], got: hub.Acquired) -> None:
        for code, alias, status in zip(codes, got.aliases, got.status.tolist(), strict=True):
            assert status == (Acquisition.ALREADY if code in self.alias_of else Acquisition.CREATED)
            assert self.alias_of.setdefault(code, alias.tobytes()) == alias.tobytes()

    def reissue(self, asked: list[bytes], got: hub.Acquired) -> None:
        person_of = {alias: code for code, alias in self.alias_of.items()}
        done = {person_of[alias] for alias in asked if alias in person_of}
        first = set()
        for alias, new, status in zip(asked, got.aliases, got.status.tolist(), strict=True):
            code, replaced = (person_of[alias], True) if alias in person_of else self.ended.get(alias, (-1, False))
            if not replaced or (code not in done and code not in self.alias_of):
                assert status == Acquisition.NONE
                assert not new.any()
                continue
            if code in done and code not in first and alias in person_of:
                first.add(code)
                assert status == Acquisition.CREATED
                self.ended[alias] = (code, True)
                assert new.tobytes() not in {*self.ended, *self.alias_of.values()}
                self.alias_of[code] = new.tobytes()
            else:
                assert status == Acquisition.ALREADY
        for alias, new, status in zip(asked, got.aliases, got.status.tolist(), strict=True):
            if status:
                assert self.alias_of[self.ended[alias][0]] == new.tobytes()

    def revoke(self, asked: list[bytes], count: int) -> None:
        person_of = {alias: code for code, alias in self.alias_of.items()}
        ended = {alias for alias in asked if alias in person_of}
        assert count == len(ended)
        for alias in ended:
            self.ended[alias] = (person_of[alias], False)
            del self.alias_of[person_of[alias]]


@pytest.mark.parametrize("size", [40, 6_000])
def test_random_lives_agree_with_two_dicts(opened: hub.Hub, town: str, size: int) -> None:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    rng, h, model = random.Random(seed), opened, Model()
    theirs = h.acquire(town, np.arange(size, dtype=np.int64))
    for _ in range(60 if size < 1_000 else 25):
        known = [*model.alias_of.values(), *model.ended, rng.randbytes(16)]
        asked = rng.choices(known, k=rng.randrange(1, size))
        rows = np.frombuffer(b"".join(asked), np.uint8).reshape(-1, 16)
        match rng.randrange(4):
            case 0 | 3:
                codes = rng.choices(range(size), k=rng.randrange(1, size))
                model.acquire(codes, h.acquire("nenkin", np.array(codes, np.int64)))
            case 1:
                model.reissue(asked, h.reissue("nenkin", rows))
            case 2:
                model.revoke(asked, h.revoke("nenkin", rows))
        check_model(h, town, theirs.aliases, model)
    assert h.verify().ok


def check_model(h: hub.Hub, town: str, theirs: np.ndarray, model: Model) -> None:
    assert h.stats()["aliases"].get("nenkin", 0) == len(model.alias_of)
    found = h.resolve(town, "nenkin", theirs)
    for code, (alias, status) in enumerate(zip(found.aliases, found.status.tolist(), strict=True)):
        held = model.alias_of.get(code)
        assert status == (Status.OK if held else Status.NO_ALIAS_AT_PROVIDER)
        assert not held or alias.tobytes() == held
    if model.ended:
        rows = np.frombuffer(b"".join(model.ended), np.uint8).reshape(-1, 16)
        assert set(h.resolve("nenkin", town, rows).status.tolist()) == {Status.REVOKED}
    if model.alias_of:
        rows = np.frombuffer(b"".join(model.alias_of.values()), np.uint8).reshape(-1, 16)
        back = h.resolve("nenkin", town, rows)
        assert (back.aliases == theirs[list(model.alias_of)]).all()
