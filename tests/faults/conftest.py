"""What the fault tests share: the model beside, the recorder of tools/, and processes that may be killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
for place in (ROOT / "tests", ROOT / "tools", ROOT / "tests" / "faults"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

import watch  # noqa: E402
from nursery import Nursery  # noqa: E402

import iolog  # noqa: E402


@pytest.fixture(scope="session")
def terminal(request: pytest.FixtureRequest) -> Iterator[int]:
    """The error output itself, which pytest takes away during a test."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        fd = os.dup(2)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def watchdog(terminal: int) -> Iterator[None]:
    watch.begin(terminal)
    yield
    watch.end()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorder library, built once; skipped off Linux and where no C compiler is."""
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
        pytest.skip("the recorder needs 64-bit Linux")
    if iolog.find_compiler() is None:
        pytest.skip("the recorder needs a C compiler")
    return iolog.build(tmp_path_factory.mktemp("iolog"))
