"""Own ids and aliases: one to one, found again, replaced only when it is asked for."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

import hub.agency
from hub.agency import Agency, runs
from hub.errors import BusyError, RequestError, RowsError, StorageError


@pytest.fixture
def agency(tmp_path: Path):
    with hub.agency.open(tmp_path / "agency", institution="131016", create=True) as made:
        yield made


def aliases_of(*numbers: int) -> np.ndarray:
    return np.array([list(number.to_bytes(16, "big")) for number in numbers], dtype=np.uint8)


def test_links_are_found_in_both_directions(agency: Agency) -> None:
    ids = ["1", "a" * 15, "b" * 16, "宛名-0001", "c" * 64]
    assert agency.link(ids, aliases_of(1, 2, 3, 4, 5)) == (5, 0, 0)
    assert agency.own_ids_of(aliases_of(5, 4, 3, 2, 1, 6)) == [*reversed(ids), None]
    found, known = agency.aliases_of([*ids, "2"])
    assert (found[:5] == aliases_of(1, 2, 3, 4, 5)).all()
    assert not found[5].any()
    assert known.tolist() == [True] * 5 + [False]


def test_the_same_link_again_changes_nothing(agency: Agency) -> None:
    agency.link(["1", "2"], aliases_of(1, 2))
    assert agency.link(["2", "3", "2"], aliases_of(2, 3, 2)) == (1, 2, 0)


@pytest.mark.parametrize(
    ("ids", "numbers"), [(["1", "9"], (9, 8)), (["9"], (1,)), (["5", "5"], (5, 6)), (["5", "6"], (5, 5))]
)
def test_a_second_counterpart_is_refused_as_a_double(agency: Agency, ids: list[str], numbers: tuple[int, ...]) -> None:
    agency.link(["1", "2"], aliases_of(1, 2))
    with pytest.raises(RowsError) as caught:
        agency.link([*ids, "20"], aliases_of(*numbers, 20))
    assert caught.value.cause == "double"
    assert 0 in caught.value.rows or caught.value.rows == [1]
    assert agency.own_ids_of(aliases_of(1, 2, 20)) == ["1", "2", None]


def test_replacing_leaves_no_old_counterpart(agency: Agency) -> None:
    agency.link(["1", "2", "3"], aliases_of(1, 2, 3))
    assert agency.link(["1", "4"], aliases_of(9, 2), replace=True) == (2, 0, 1)
    assert agency.own_ids_of(aliases_of(1, 2, 3, 9)) == [None, "4", "3", "1"]
    assert agency.aliases_of(["1", "2", "3", "4"])[1].tolist() == [True, False, True, True]


def test_two_people_may_change_places_in_one_step(agency: Agency) -> None:
    agency.link(["1", "2"], aliases_of(1, 2))
    agency.link(["1", "2"], aliases_of(2, 1), replace=True)
    assert agency.own_ids_of(aliases_of(1, 2)) == ["2", "1"]


@pytest.mark.parametrize(("size", "fits"), [(0, False), (1, True), (64, True), (65, False)])
def test_an_own_id_is_of_one_to_64_bytes(agency: Agency, size: int, fits: bool) -> None:
    if fits:
        assert agency.link(["x" * size], aliases_of(1)).added == 1
    else:
        with pytest.raises(RequestError, match="1 to 64 bytes"):
            agency.link(["x" * size], aliases_of(1))


def test_many_small_links_agree_with_a_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "FAN_OUT", 3)
    monkeypatch.setattr(runs, "BLOCK_ROWS", 4)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    of_own: dict[str, int] = {}
    of_alias: dict[int, str] = {}
    with hub.agency.open(tmp_path / "a", institution="131016", create=True) as agency:
        for _ in range(120):
            pairs = list(zip(chance.sample(range(40), 5), chance.sample(range(1, 41), 5), strict=True))
            ids, numbers = [str(a) * (1 + a % 2 * 9) for a, _ in pairs], [b for _, b in pairs]
            replace = chance.random() < 0.5
            free = all(
                of_own.get(a) == b or (a not in of_own and b not in of_alias) for a, b in zip(ids, numbers, strict=True)
            )
            if not replace and not free:
                with pytest.raises(RowsError):
                    agency.link(ids, aliases_of(*numbers))
                continue
            agency.link(ids, aliases_of(*numbers), replace=replace)
            for own, alias in zip(ids, numbers, strict=True):
                of_own.pop(of_alias.pop(alias, ""), None)
                of_alias.pop(of_own.pop(own, 0), None)
                of_own[own], of_alias[alias] = alias, own
            assert agency.own_ids_of(aliases_of(*range(1, 41))) == [of_alias.get(number) for number in range(1, 41)]
            every = sorted({str(a) * (1 + a % 2 * 9) for a in range(40)})
            found, known = agency.aliases_of(every)
            assert [int.from_bytes(row.tobytes(), "big") for row in found] == [of_own.get(one, 0) for one in every]
            assert known.tolist() == [one in of_own for one in every]
    with hub.agency.open(tmp_path / "a") as agency:
        assert agency.own_ids_of(aliases_of(*range(1, 41))) == [of_alias.get(number) for number in range(1, 41)]


def test_keys_are_mixed_and_back(agency: Agency) -> None:
    raw = np.random.default_rng(1).integers(0, 256, (100, 16), dtype=np.uint8)
    assert (runs.unmix_keys(*runs.mix_keys(raw)) == raw).all()


def test_keys_that_share_their_first_half_are_told_apart(tmp_path: Path) -> None:
    store_of = hub.agency.open(tmp_path / "a", institution="x", create=True)
    with store_of:
        hi = np.array([5, 5, 5, 7], np.uint64)
        lo = np.array([3, 1, 2, 9], np.uint64)
        order = runs.order_keys(hi, lo)
        with store_of._store.write_file(1, 0) as handle:
            columns = [hi[order], lo[order], np.arange(4, dtype=np.uint64)[order]]
            blocks = runs.write_blocks(handle, 0, iter([[c[:2] for c in columns], [c[2:] for c in columns]]))
        run = runs.Run(1, 0, 3, blocks)
        found, (values,) = runs.find_keys(
            store_of._maps, [run], np.array([5, 5, 5, 5, 7], np.uint64), np.array([2, 3, 4, 1, 9], np.uint64)
        )
        assert found.tolist() == [True, True, False, True, True]
        assert values.tolist() == [2, 0, 0, 1, 3]


def test_a_damaged_file_is_named_and_nothing_answered(tmp_path: Path) -> None:
    with hub.agency.open(tmp_path / "a", institution="131016", create=True) as agency:
        agency.link(["1", "2"], aliases_of(1, 2))
    for path in (tmp_path / "a" / "files").iterdir():
        raw = bytearray(path.read_bytes())
        raw[5] ^= 1
        path.write_bytes(raw)
    with hub.agency.open(tmp_path / "a") as agency, pytest.raises(StorageError, match="expected the stored checksum"):
        agency.own_ids_of(aliases_of(1))


def test_a_missing_file_keeps_the_folder_closed(tmp_path: Path) -> None:
    with hub.agency.open(tmp_path / "a", institution="131016", create=True) as agency:
        agency.link(["1"], aliases_of(1))
    next((tmp_path / "a" / "files").iterdir()).unlink()
    with pytest.raises(StorageError, match="expected"):
        hub.agency.open(tmp_path / "a")


def test_what_nothing_names_is_cleared_away(tmp_path: Path) -> None:
    with hub.agency.open(tmp_path / "a", institution="131016", create=True) as agency:
        agency.link(["1"], aliases_of(1))
    (tmp_path / "a" / "files" / "00000000000000ff").write_bytes(b"left")
    (tmp_path / "a" / "files" / ".of-the-desktop").touch()
    named = [path for path in (tmp_path / "a" / "files").iterdir() if path.name != "00000000000000ff"]
    with next(path for path in named if path.stat().st_size).open("ab") as file:
        file.write(b"tail")
    with hub.agency.open(tmp_path / "a") as agency:
        assert agency.own_ids_of(aliases_of(1)) == ["1"]
    assert sorted(path.name for path in (tmp_path / "a" / "files").iterdir()) == sorted(path.name for path in named)


def test_one_process_writes_and_others_read(tmp_path: Path) -> None:
    with hub.agency.open(tmp_path / "a", institution="131016", create=True) as agency:
        with pytest.raises((BusyError, StorageError)):
            hub.agency.open(tmp_path / "a")
        agency.link(["1"], aliases_of(1))
    with hub.agency.open(tmp_path / "a", readonly=True) as agency:
        assert agency.own_ids_of(aliases_of(1)) == ["1"]
        with pytest.raises(RequestError, match="read-only"):
            agency.link(["2"], aliases_of(2))


def test_a_folder_is_of_one_institution(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="institution"):
        hub.agency.open(tmp_path / "a", create=True)
    hub.agency.open(tmp_path / "a", institution="131016", create=True).close()
    with pytest.raises(RequestError, match="whose folder"):
        hub.agency.open(tmp_path / "a", institution="nenkin")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter").touch()
    with pytest.raises(RequestError, match="other files"):
        hub.agency.open(tmp_path / "b", institution="131016", create=True)
