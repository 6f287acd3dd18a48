"""What the tests of the wire share: certificates of this run, a hub that is served, a client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
for place in (ROOT / "tests", ROOT / "tools", ROOT / "tests" / "wire"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from both import PERSONS, Both  # noqa: E402
from served import Network, Served, plain_config  # noqa: E402

from hub.wire.config import Limits  # noqa: E402
from parties import Parties  # noqa: E402


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """An authority and its certificates."""
    return Network(tmp_path_factory.mktemp("network"))


@pytest.fixture
def parties(tmp_path: Path) -> Iterator[Parties]:
    with Parties(tmp_path / "hub") as found:
        yield found


@pytest.fixture
def plain(parties: Parties) -> Iterator[Served]:
    """The same hub, served without TLS and with small bounds, for those who send anything."""
    limits = Limits(requests_per_connection=8, hello_s=1.5, frame_s=1.5, unread_s=1.5, bytes_in_flight=1 << 22)
    served = Served(parties.h, plain_config(["nenkin", parties.town, "portal"], limits), as_usual=True)
    try:
        yield served
    finally:
        served.stop()


@pytest.fixture
def both(tmp_path: Path, network: Network) -> Iterator[Both]:
    with Parties(tmp_path / "hub", PERSONS) as parties:
        codes = ["nenkin", "portal", "jlis", *(body.code for body in parties.h.catalog.institutions("市町村長")[:6])]
        served = Served(parties.h, network.config(codes))
        with network.connect(served) as remote:
            yield Both(parties, remote)
        served.stop()
