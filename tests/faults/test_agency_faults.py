"""Two institutions' folders failed and killed at every step: one state, nothing kept twice, and all goes on.

Each durable call of a life (``agency_life.py``) is failed once, in one way by turns, a sample of them; with
``HUB_EVERY_STEP=1`` all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import agency_life as life
import pytest
from lifefaults import fail_calls, kill_often, recording
from nursery import Nursery


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), value in life.SMALL.items():
        monkeypatch.setattr(module, name, value)


class Bench:
    """Prepared folders, copied for each life."""

    steps = life.STEPS

    def __init__(self, place: Path) -> None:
        self.root, self._past = place / "root", place / "past"
        life.prepare(self._past)
        shutil.copytree(self._past, self.root)

    def begin(self) -> None:
        """A new life."""
        for path in self.root.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(self._past, self.root, dirs_exist_ok=True)

    def job(self, fail: str) -> dict[str, object]:
        """The child's job, with this fault."""
        return {"job": "agency", "root": str(self.root), "fail": fail}

    def go_on(self, done: int) -> None:
        """Reopened, the folders are between two steps, and everything that is left can be done."""
        with life.Life(self.root) as going:
            going.check_between(done)
            going.finish(done)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("agencies"))


@pytest.fixture(scope="module")
def recorded(bench: Bench, recorder: Path) -> Iterator[Nursery]:
    with recording(bench, recorder) as made:
        yield made


@pytest.mark.preload
def test_every_call_of_an_agencys_life_failed_leaves_one_state(bench: Bench, recorded: Nursery) -> None:
    fail_calls(bench, recorded, sample=24, calls_min=60, failed_in=5)


def test_an_agency_survives_12_kills(bench: Bench, nursery: Nursery) -> None:
    kill_often(bench, nursery, kills=12, places_min=5)
