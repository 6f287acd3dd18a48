"""A stored value in another's place, or one of an earlier commit in its own: found when read or by the verification.

Done with py-lmdb to copies of a folder, so that pages are whole and every checksum is right: what a file system that
swapped two sectors, or a disk that lost a write, leaves in a folder. Each value of a database is exchanged in turn.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import pytest

import hub
import hub.acquisition.additions
from hub.aliases import count_key
from hub.errors import HubError, StorageError
from hub.records.log import default_head
from hub.runs.merger import Merger
from inquiries import tax_inquiry

NOW = 1_798_000_000
DATABASES = (
    "meta", "tables", "changes", "pending", "records", "entries", "nodes", "catalogs", "runs", "rundir", "checkpoints",
    "requests",
)  # fmt: skip
WRITTEN_ONCE = {"changes", "records", "entries", "nodes", "catalogs", "runs", "checkpoints"}
"""A key of these never gets another value, so that no older one can be put back."""

VALUES_MAX = 6
"""Of each database: the first, the last, and some between."""

Values = dict[bytes, bytes]


class Stopped(Exception):
    """Raised where a process would have died."""


def wait_for_merges(h: hub.Hub) -> None:
    merger = h._merger
    assert isinstance(merger, Merger)
    for _ in range(500):
        if merger.idle:
            return
        merger._closing.wait(0.02)
    raise AssertionError("expected the merges to end")


def copy(folder: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    shutil.copy(default_head(folder), default_head(target))
    return target


class Versions:
    """A folder at its end, and every value that each of its keys ever had at the end of a step."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.older: dict[str, dict[bytes, set[bytes]]] = {}
        self.steps: list[dict[str, Values]] = []
        now = [NOW]
        codes = np.arange(4_000, dtype=np.int64) + 10**9

        def open_hub() -> hub.Hub:
            return hub.open(folder, create=True, clock=lambda: now[0])

        with open_hub() as h:
            town = h.catalog.institutions("市町村長")[0].code
            own = h.acquire("nenkin", codes[:1_500]).aliases
            h.acquire(town, codes[:1_200])
            h.begin_file("nenkin", "file", bytes(32), 300)
        self._look()
        for step in range(3):
            with open_hub() as h:
                for number in range(9):
                    now[0] += 4_000
                    h.inquire(tax_inquiry(f"r{step}-{number}"), own[: 600 + number], town)
                h.acquire(town, codes[1_200 : 1_300 + 100 * step])
                if step == 1:
                    h.end_file("nenkin", "file", 300)
                if step == 2:
                    wait_for_merges(h)
            self._look()
        # A large acquisition of which only the first commit, which writes it down, took place: twice.
        complete = hub.acquisition.additions._complete
        patch.setattr(hub.acquisition.additions, "COMMIT_BYTES_MAX", 1 << 15)
        patch.setattr(hub.acquisition.additions, "ROWS_PER_PART", 500)
        for first in (1_500, 2_800):
            # The one before is completed by opening.
            with open_hub() as h:
                patch.setattr(hub.acquisition.additions, "_complete", self._stop)
                with pytest.raises(Stopped):
                    h.acquire("portal", codes[first : first + 1_200])
                patch.setattr(hub.acquisition.additions, "_complete", complete)
            self._look()
        self.now = self._values()

    def _stop(self, *_: object) -> None:
        raise Stopped

    def _values(self) -> dict[str, Values]:
        with open_environment(self.folder) as env, env.begin() as txn:
            names = [bytes(name) for name in txn.cursor().iternext(values=False)]
            databases = {name.decode(): env.open_db(name, txn=txn, create=False) for name in names}
            return {name: {bytes(k): bytes(v) for k, v in txn.cursor(db=db)} for name, db in databases.items()}

    def named(self, name: str) -> str:
        """The whole name of the database of request ids."""
        return min(one for one in self.now if one.startswith(name)) if name == "requests" else name

    def _look(self) -> None:
        self.steps.append(self._values())
        for name, values in self.steps[-1].items():
            for key, value in values.items():
                self.older.setdefault(name, {}).setdefault(key, set()).add(value)


def open_environment(folder: Path) -> lmdb.Environment:
    return lmdb.open(str(folder / "env"), map_size=1 << 30, max_dbs=256)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versions]:
    with pytest.MonkeyPatch.context() as patch:
        yield Versions(tmp_path_factory.mktemp("versions") / "hub", patch)


def write(folder: Path, name: str, values: dict[bytes, bytes | None]) -> None:
    """Put values, or take away those that are None, past everything that is ours."""
    with open_environment(folder) as env, env.begin(write=True) as txn:
        database = env.open_db(name.encode(), txn=txn, create=False)
        for key, value in values.items():
            if value is None:
                txn.delete(key, db=database)
            else:
                txn.put(key, value, db=database)


def problems_of(folder: Path) -> list[str]:
    """What a reader finds that opens a folder and verifies it."""
    try:
        with hub.open(folder, readonly=True, clock=lambda: NOW) as h:
            return list(h.verify().problems)
    except HubError as error:
        return [str(error)]


def some(keys: list[bytes]) -> list[bytes]:
    step = max(1, len(keys) // VALUES_MAX)
    return sorted({*keys[::step], *keys[-1:]})


def test_the_sound_folder_has_no_problem_and_every_kind_of_value(versions: Versions, tmp_path: Path) -> None:
    assert problems_of(copy(versions.folder, tmp_path / "hub")) == []
    for name in DATABASES:
        assert versions.now[versions.named(name)], name
    with hub.open(copy(versions.folder, tmp_path / "hub"), clock=lambda: NOW) as h:
        assert h.verify().ok, "what was left pending is completed"


@pytest.mark.parametrize("name", DATABASES)
def test_two_values_exchanged_are_found(versions: Versions, tmp_path: Path, name: str) -> None:
    name = versions.named(name)
    values = versions.now[name]
    keys = some(sorted(values))
    pairs = [(one, other) for one, other in itertools.pairwise(keys) if values[one] != values[other]]
    assert pairs or len(values) == 1
    for one, other in pairs:
        folder = copy(versions.folder, tmp_path / "hub")
        write(folder, name, {one: values[other], other: values[one]})
        assert problems_of(folder), f"{name}: {one.hex()} and {other.hex()}"


@pytest.mark.parametrize("name", DATABASES)
def test_another_database_s_value_is_found(versions: Versions, tmp_path: Path, name: str) -> None:
    name = versions.named(name)
    key = min(versions.now[name])
    for other in DATABASES:
        theirs = versions.now[versions.named(other)]
        if versions.named(other) == name:
            continue
        folder = copy(versions.folder, tmp_path / "hub")
        # The same key's where the other one has it, such as entries under the key of records.
        write(folder, name, {key: theirs.get(key, theirs[min(theirs)])})
        assert problems_of(folder), f"{name}: a value of {other}"


@pytest.mark.parametrize("name", DATABASES)
def test_an_older_value_in_its_own_place_is_found(versions: Versions, tmp_path: Path, name: str) -> None:
    whole = versions.named(name)
    older = {
        key: found for key, value in versions.now[whole].items() if (found := versions.older[whole][key] - {value})
    }
    assert bool(older) == (name not in WRITTEN_ONCE), f"{name}: expected older values of some keys"
    for key in some(sorted(older)):
        for value in sorted(older[key])[:3]:
            folder = copy(versions.folder, tmp_path / "hub")
            write(folder, whole, {key: value})
            assert problems_of(folder), f"{name}: an older value under {key.hex()}"


@pytest.mark.parametrize("name", DATABASES)
def test_a_lost_value_and_one_that_should_have_gone_are_found(versions: Versions, tmp_path: Path, name: str) -> None:
    whole = versions.named(name)
    for key in some(sorted(versions.now[whole])):
        folder = copy(versions.folder, tmp_path / "hub")
        write(folder, whole, {key: None})
        assert problems_of(folder), f"{name}: without {key.hex()}"
    gone = versions.older[whole].keys() - versions.now[whole].keys()
    for key in some(sorted(gone)):
        folder = copy(versions.folder, tmp_path / "hub")
        write(folder, whole, {key: min(versions.older[whole][key])})
        assert problems_of(folder), f"{name}: {key.hex()} came back"


def test_a_table_of_an_earlier_commit_is_found_as_a_whole(versions: Versions, tmp_path: Path) -> None:
    # Every block, the count and the sum of a table, all of one moment: only the sum of ``meta`` tells.
    first = versions.steps[0]
    changed = [key[:4] for key, value in first["tables"].items() if versions.now["tables"].get(key) != value]
    assert changed
    for table in set(changed):
        folder = copy(versions.folder, tmp_path / "hub")
        blocks: dict[bytes, bytes | None] = {key: None for key in versions.now["tables"] if key[:4] == table}
        write(folder, "tables", blocks | {key: value for key, value in first["tables"].items() if key[:4] == table})
        about = (b"sums" + table, count_key(int.from_bytes(table, "big") >> 1))
        write(folder, "meta", {key: first["meta"][key] for key in about})
        assert any(problem.startswith("meta: expected the sum") for problem in problems_of(folder))


def test_an_older_pending_part_is_not_completed(versions: Versions, tmp_path: Path) -> None:
    key = min(versions.now["pending"])
    (older,) = versions.older["pending"][key] - {versions.now["pending"][key]}
    folder = copy(versions.folder, tmp_path / "hub")
    write(folder, "pending", {key: older})
    with pytest.raises(StorageError, match="pending: expected the sum"):
        hub.open(folder, clock=lambda: NOW)


def test_no_write_goes_past_the_sums() -> None:
    source = Path(hub.__file__).parent
    for path in sorted(source.rglob("*.py")):
        name = str(path.relative_to(source))
        if name == "storage/snapshot.py" or name.startswith(("bench/", "agency/")):
            continue
        text = path.read_text(encoding="utf-8")
        # ``runs`` has no sum: ``put_blocks`` writes there, thousands of blocks a step.
        allowed = 1 if name == "runs/index.py" else 0
        words = ("txn.put(", "txn.delete(", "cursor.delete(", "cursor.put(", "txn.drop(")
        found = sum(text.count(word) for word in words)
        assert found == allowed, f"{name}: writes go through Commit, which moves the sums"
