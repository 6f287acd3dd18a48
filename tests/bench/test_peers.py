"""The peers answer what the hub would: a peer that is fast because it is wrong is no peer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hub.bench.peers import Peer, PeerRows, alias_order, installed

ROWS = 5_000


@pytest.fixture(scope="module")
def rows() -> PeerRows:
    random = np.random.default_rng(1)
    aliases, provided = (np.frombuffer(random.bytes(16 * ROWS), np.uint8).reshape(ROWS, 16) for _ in range(2))
    return PeerRows(aliases, provided)


@pytest.mark.parametrize("kind", installed(), ids=lambda kind: kind.name)
def test_a_peer_translates_hits_and_misses_in_the_callers_order(
    kind: type[Peer], rows: PeerRows, tmp_path: Path
) -> None:
    random = np.random.default_rng(2)
    persons = random.integers(0, ROWS, 3_000)
    asked, expected = rows.aliases[persons], rows.provided[persons]
    unknown = random.random(3_000) < 0.2
    asked[unknown] = random.integers(0, 256, (int(unknown.sum()), 16), dtype=np.uint8)
    expected[unknown] = 0
    peer = kind(tmp_path, threads=2)
    try:
        peer.load(rows)
        for part in (slice(0, 3_000), slice(0, 1), slice(17, 40)):
            assert np.array_equal(peer.resolve(asked[part]), expected[part])
        nobody = np.full((5, 16), 7, dtype=np.uint8)
        assert not peer.resolve(nobody).any()
    finally:
        peer.close()


def test_alias_order_is_the_order_of_all_sixteen_bytes() -> None:
    random = np.random.default_rng(3)
    aliases = random.integers(0, 2, (500, 16), dtype=np.uint8)
    ordered = [bytes(row) for row in aliases[alias_order(aliases)]]
    assert ordered == sorted(ordered)
