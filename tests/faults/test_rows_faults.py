"""Small inquiries that come as columns, failed and killed at every step: each is there once, and all goes on.

Each durable call of the steps of ``rows_life.py`` is failed once, in one way by turns; with ``HUB_EVERY_STEP=1`` in
every way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rows_life as life
from lifefaults import HubBench, fail_calls, kill_often, recording
from nursery import Nursery


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> HubBench:
    return HubBench(life, tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def recorded(bench: HubBench, recorder: Path) -> Iterator[Nursery]:
    with recording(bench, recorder) as made:
        yield made


@pytest.mark.preload
def test_every_call_failed_leaves_each_inquiry_whole_or_not_there(bench: HubBench, recorded: Nursery) -> None:
    fail_calls(bench, recorded, sample=30, calls_min=40, failed_in=5)


def test_inquiries_as_columns_survive_15_kills(bench: HubBench, nursery: Nursery) -> None:
    kill_often(bench, nursery, kills=15, places_min=3)
