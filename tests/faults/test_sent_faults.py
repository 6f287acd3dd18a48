"""What is sent unasked failed and killed at every step: one state, recorded once, and all goes on.

A process notifies, pushes, takes, updates, sorts in and lets lapse (``sent_life.py``), in many small transactions.
Some of its durable calls are failed once; with ``HUB_EVERY_STEP=1`` each of them, in every way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sent_life as life
from lifefaults import HubBench, fail_calls, kill_often, recording
from nursery import Nursery


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), value in life.SMALL.items():
        monkeypatch.setattr(module, name, value)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> HubBench:
    return HubBench(life, tmp_path_factory.mktemp("sent"))


@pytest.fixture(scope="module")
def recorded(bench: HubBench, recorder: Path) -> Iterator[Nursery]:
    with recording(bench, recorder) as made:
        yield made


@pytest.mark.preload
def test_durable_calls_failed_leave_what_is_sent_in_one_state(bench: HubBench, recorded: Nursery) -> None:
    fail_calls(bench, recorded, sample=30, calls_min=60, failed_in=6)


def test_what_is_sent_survives_kills(bench: HubBench, nursery: Nursery) -> None:
    kill_often(bench, nursery, kills=12, places_min=3)
