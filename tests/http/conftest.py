"""What the tests of HTTP share: certificates of this run, a hub that is served on both."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
for place in (ROOT / "tests", ROOT / "tools", ROOT / "tests" / "wire", ROOT / "tests" / "http"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from certificates import Authority  # noqa: E402
from posting import Web  # noqa: E402
from served import Network  # noqa: E402

from hub.wire.config import Limits  # noqa: E402
from parties import Parties  # noqa: E402


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """An authority and its certificates."""
    return Network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody configured."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    with Parties(tmp_path_factory.mktemp("web") / "hub") as found:
        yield found


@pytest.fixture(scope="module")
def web(parties: Parties, network: Network) -> Iterator[Web]:
    """A hub over TLS and behind a proxy's socket, with small bounds, in the loop that ``hub serve`` takes."""
    limits = Limits(hello_s=1.5, frame_s=1.5, unread_s=1.5, bytes_in_flight=1 << 25)
    found = Web(parties, network, limits=limits)
    try:
        yield found
    finally:
        found.stop()
