"""What the tests of the portal share: certificates, and one world that tests only read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
for place in (ROOT / "tests", ROOT / "tools", ROOT / "tests" / "wire", ROOT / "tests" / "portal"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from portalworld import PortalWorld, fill  # noqa: E402
from served import Network  # noqa: E402

from parties import Parties  # noqa: E402


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """An authority and its certificates."""
    return Network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, network: Network) -> Iterator[PortalWorld]:
    """Persons 0 and 1 were asked about, person 2 never; for tests that change nothing another one looks at."""
    folder = tmp_path_factory.mktemp("portal")
    with Parties(folder / "hub") as parties:
        fill(parties, 0)
        fill(parties, 1, questions=30)
        parties.h.export_tiles(folder / "public")
        # Person 5 signs in without the card.
        made = PortalWorld(folder, network, parties, claims={5: {"acr": "password"}})
        yield made
        made.stop()
