"""A wrong link that is suspended and reported, failed and killed at every step: all of it once, and all goes on.

Each durable call of the steps of ``link_life.py`` is failed once, in one way by turns; with ``HUB_EVERY_STEP=1`` in
every way.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import link_life as life
import pytest
from lifefaults import HubBench, fail_calls, kill_often, recording
from nursery import Nursery


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> HubBench:
    return HubBench(life, tmp_path_factory.mktemp("links"))


@pytest.fixture(scope="module")
def recorded(bench: HubBench, recorder: Path) -> Iterator[Nursery]:
    with recording(bench, recorder) as made:
        yield made


@pytest.mark.preload
def test_every_call_failed_leaves_each_step_whole_or_not_done(bench: HubBench, recorded: Nursery) -> None:
    fail_calls(bench, recorded, sample=50, calls_min=40, failed_in=5)


def test_a_report_survives_25_kills(bench: HubBench, nursery: Nursery) -> None:
    # Mostly in the report, which has the most transactions.
    kill_often(
        bench, nursery, kills=25, places_min=3,
        begun=lambda rng: rng.choice((rng.randint(1, life.STEPS), life.Step.REPORT + 1)),
    )  # fmt: skip
