"""The exchange failed and killed at every step: each row in one state, each change recorded once, and all goes on.

A process asks in bulk and small, collects, answers, sorts in, lets lapse and fetches (``exchange_life.py``), in many
small transactions. Each of its durable calls is failed once, in one way by turns; with ``HUB_EVERY_STEP=1`` in every
way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import exchange_life as life
import pytest
from lifefaults import HubBench, fail_calls, kill_often, recording
from nursery import Nursery


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), value in life.SMALL.items():
        monkeypatch.setattr(module, name, value)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> HubBench:
    return HubBench(life, tmp_path_factory.mktemp("lives"))


@pytest.fixture(scope="module")
def recorded(bench: HubBench, recorder: Path) -> Iterator[Nursery]:
    with recording(bench, recorder) as made:
        yield made


@pytest.mark.preload
def test_every_call_of_an_exchange_failed_leaves_each_row_in_one_state(bench: HubBench, recorded: Nursery) -> None:
    fail_calls(bench, recorded, sample=60, calls_min=60, failed_in=5)


def test_an_exchange_survives_30_kills(bench: HubBench, nursery: Nursery) -> None:
    kill_often(bench, nursery, kills=30, places_min=6)
