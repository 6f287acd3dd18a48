"""Chunks of a large inquiry that were resolved together, ahead of their turn: same answers, never stale ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hub
from hub import limits
from hub.aliases import BY_PERSON, table_number
from hub.messages import Inquiry, Status
from hub.requests import ahead
from hub.requests import state as requests
from hub.resolve import resolve_aliases, resolve_by_provider
from hub.storage.workers import Workers

ROWS = 3_000
CHUNK_ROWS = 200


@pytest.fixture
def town_codes() -> list[str]:
    return [body.code for body in hub.Catalog.japan().institutions("市町村長")][:7]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups as large inquiries of large hubs have them, at a size that a test can make."""
    monkeypatch.setattr(ahead, "PERSONS_FROM", 0)
    monkeypatch.setattr(ahead, "CHUNKS_TOGETHER", 3)
    monkeypatch.setattr(requests, "ROWS_PER_CHUNK", CHUNK_ROWS)


def question(request_id: str) -> Inquiry:
    return Inquiry(
        requester="nenkin", procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者", section="年金給付部",
        request_id=request_id,
    )  # fmt: skip


def people(h: hub.Hub, town_codes: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Aliases at the agency, the municipality that is asked, and the status that must come of it, of ROWS rows."""
    codes = 90_000_000_000 + np.arange(ROWS, dtype=np.int64)
    aliases = h.acquire("nenkin", codes).aliases.copy()
    random = np.random.default_rng(0)
    home = random.integers(0, len(town_codes), ROWS)
    for town, code in enumerate(town_codes):
        h.acquire(code, codes[home == town])
    status = np.zeros(ROWS, np.uint8)
    status[::11], status[::13] = Status.NO_ALIAS_AT_PROVIDER, Status.UNKNOWN_ALIAS
    aliases[::13] = random.integers(0, 256, (len(aliases[::13]), 16), np.uint8)
    asked = (home + (status == Status.NO_ALIAS_AT_PROVIDER)) % len(town_codes)
    numbers = np.array([h.catalog.institution(code).number for code in town_codes], np.uint32)
    return aliases, numbers[asked], status


@pytest.mark.parametrize("threads", [1, 2])
def test_an_inquiry_is_answered_as_it_is_chunk_by_chunk(
    threads: int, tmp_path: Path, town_codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    part = ahead.Ahead.part

    def counted(self: ahead.Ahead, chunk: int, snapshot: object) -> object:
        found = part(self, chunk, snapshot)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(ahead.Ahead, "part", counted)
    with hub.open(tmp_path / "h", create=True, threads=threads) as h:
        aliases, providers, status = people(h, town_codes)
        answer = h.inquire(question("together"), aliases, providers)
        assert (answer.status == status).all()
        assert taken == [True] * (ROWS // CHUNK_ROWS)
        monkeypatch.setattr(ahead, "PERSONS_FROM", ROWS + 1)
        again = h.inquire(question("one by one"), aliases, providers)
        assert len(taken) == ROWS // CHUNK_ROWS
        assert (again.status == answer.status).all()
        assert (again.rule == answer.rule).all()
        assert h.stats()["records"] == 2 * int(np.count_nonzero(status != Status.UNKNOWN_ALIAS))
        assert h.verify().ok


def test_tables_that_change_meanwhile_are_looked_up_in_again(tmp_path: Path, town_codes: list[str]) -> None:
    with hub.open(tmp_path / "h", create=True, threads=2) as h:
        aliases, providers, status = people(h, town_codes)
        revoked = np.flatnonzero(status == Status.OK)[-1]

        def change(rows: int) -> None:
            if rows == CHUNK_ROWS:
                h.reissue("nenkin", aliases[revoked : revoked + 1])

        answer = h.inquire(question("changing"), aliases, providers, progress=change)
        assert answer.status[revoked] == Status.REVOKED
        status[revoked] = Status.REVOKED
        assert (answer.status == status).all()


def test_an_interrupt_leaves_whole_chunks_and_the_rest_follows(tmp_path: Path, town_codes: list[str]) -> None:
    class Stop(Exception):
        pass

    def stop(rows: int) -> None:
        if rows >= ROWS // 2:
            raise Stop

    with hub.open(tmp_path / "h", create=True, threads=2) as h:
        aliases, providers, status = people(h, town_codes)
        with pytest.raises(Stop):
            h.inquire(question("cut off"), aliases, providers, progress=stop)
        assert (h.inquire(question("cut off"), aliases, providers).status == status).all()
        assert h.stats()["records"] == int(np.count_nonzero(status != Status.UNKNOWN_ALIAS))


@pytest.mark.parametrize(("chunks", "together"), [(2, False), (3, True)])
def test_few_chunks_are_resolved_each_by_itself(
    chunks: int, together: bool, tmp_path: Path, town_codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    monkeypatch.setattr(ahead.Ahead, "begin", lambda self, chunk: begun.append(chunk))
    with hub.open(tmp_path / "h", create=True, threads=1) as h:
        aliases, providers, status = people(h, town_codes)
        rows = slice(0, max(chunks * CHUNK_ROWS, limits.ROWS_GATHERED_MAX + 1) if together else chunks * CHUNK_ROWS)
        answer = h.inquire(question("few"), aliases[rows], providers[rows], progress=lambda _: None)
        assert (answer.status == status[rows]).all()
        assert bool(begun) is together


def test_rows_in_the_order_of_their_providers_are_answered_in_their_own(
    tmp_path: Path, town_codes: list[str]
) -> None:
    with hub.open(tmp_path / "h", create=True, threads=1) as h:
        aliases, providers, _ = people(h, town_codes)
        wanted = (np.arange(ROWS) % 5 > 0).astype(np.uint8)
        number = h.catalog.institution("nenkin").number
        with h._store.snapshot() as snapshot:
            arguments = (snapshot, number, providers, aliases, Workers(1))
            plain = resolve_aliases(*arguments, wanted=wanted)
            ordered = resolve_by_provider(*arguments, wanted=wanted)
            assert table_number(number, BY_PERSON)
        for name in ("persons", "aliases", "status"):
            assert (getattr(plain, name) == getattr(ordered, name)).all()
        some = ordered.part(slice(100, 250))
        assert len(some) == 150
        assert (some.status == plain.status[100:250]).all()
        assert some.tables_commit == plain.tables_commit
