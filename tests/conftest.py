"""What several tests need: an open hub in a new folder, a town, some codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import hub
from hub import _hash

# No test depends on the clock; a failing example is printed so that it can be run again.
settings.register_profile("hub", deadline=None, print_blob=True)
settings.load_profile("hub")

LONG = (
    "test_unlinkability.py", "test_sync.py", "test_flips.py", "test_runs.py", "test_portal_axe.py",
    "test_portal_browser.py", "test_portal_mine_browser.py", "test_desk_browser.py", "test_portal_betrays.py",
    "test_portal_signin.py", "test_http_schema.py", "test_lives.py", "test_lives_model.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take minutes go first, so that no processor is left alone with one of them at the end."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[hub.Hub]:
    """A new hub, open for writing."""
    with hub.open(tmp_path / "hub", create=True) as h:
        yield h


@pytest.fixture
def town(opened: hub.Hub) -> str:
    """The code of some municipality."""
    return opened.catalog.institutions("市町村長")[0].code


@pytest.fixture
def codes() -> np.ndarray:
    """A hundred resident record codes."""
    return np.arange(100, dtype=np.int64) + 10**9


@pytest.fixture(params=[0, 1, 2], ids=["one by one", "SHA instructions", "AVX-512"])
def lanes(request: pytest.FixtureRequest) -> Iterator[int]:
    """Hashing with each kind of instructions that this processor has, in turn."""
    if _hash.use_lanes(request.param) != request.param:
        _hash.use_lanes(_hash.LANES_MOST)
        pytest.skip("the processor does not have them")
    yield request.param
    _hash.use_lanes(_hash.LANES_MOST)
