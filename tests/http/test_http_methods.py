"""Each method of the table gives over HTTP what the embedded hub gives: in JSON all of them, in MessagePack some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both import PERSONS, Both, Pair, plain
from posting import JSON, MSGPACK, Web, remote_over
from served import Network
from test_every_method import PLAYS

from hub.errors import RequestError
from hub.wire.methods import METHODS
from inquiries import tax_inquiry
from parties import Parties

# Answers to these say how far a long call is while it lasts, which HTTP does not tell.
ROWS_TOLD = {"push_holders"}


def open_both(folder: Path, network: Network, media: str) -> Iterator[Both]:
    with Parties(folder / "hub", PERSONS) as parties:
        codes = ["nenkin", "portal", "jlis", *(body.code for body in parties.h.catalog.institutions("市町村長")[:6])]
        web = Web(parties, network, codes)
        try:
            with remote_over(web, media) as remote:
                yield Both(parties, remote)
        finally:
            web.stop()


@pytest.fixture
def both_in_json(tmp_path: Path, network: Network) -> Iterator[Both]:
    yield from open_both(tmp_path, network, JSON)


@pytest.fixture
def both_in_msgpack(tmp_path: Path, network: Network) -> Iterator[Both]:
    yield from open_both(tmp_path, network, MSGPACK)


@pytest.mark.parametrize("play", dict.fromkeys(PLAYS.values()), ids=lambda play: play.__name__)
def test_here_and_over_http_in_json_are_equal(both_in_json: Both, play: Callable[[Both], Pair]) -> None:
    here, there = play(both_in_json)
    assert plain(there) == plain(here)


@pytest.mark.parametrize("name", ["inquire", "provide", "history", "update", "copy_of", "catalog"])
def test_here_and_over_http_in_msgpack_are_equal(both_in_msgpack: Both, name: str) -> None:
    here, there = PLAYS[name](both_in_msgpack)
    assert plain(there) == plain(here)


def test_the_methods_over_http_are_those_of_the_table() -> None:
    assert set(PLAYS) == set(METHODS)


def test_errors_over_http_are_those_of_the_embedded_hub(both_in_json: Both) -> None:
    both = both_in_json
    both.ask("r", [0, 1])
    (permits,) = both.h.collect(both.town)
    both.h.provide(both.town, permits.permit[:1], 10)
    plays: list[Callable[[Any], Any]] = [
        lambda h: h.inquire(tax_inquiry("x", procedure="19-8/0/0"), both.nenkin[:1], both.town),
        lambda h: h.inquire(tax_inquiry("x"), both.nenkin[:2], [both.town, "no such town"]),
        lambda h: h.provide(both.town, permits, 11),
        lambda h: h.status("nenkin", "unknown"),
        lambda h: h.deliver(both.town, np.zeros((1, 16), np.uint8), ["00000000001"]),
        lambda h: h.consistency(2, 1),
    ]
    for play in plays:
        raised = []
        for h in both.ends():
            with pytest.raises(RequestError) as caught:
                play(h)
            raised.append(caught.value)
        fields = ("code", "retry_safe", "rows", "cause")
        told = [[type(one), str(one), *(getattr(one, name, None) for name in fields)] for one in raised]
        assert told[0] == told[1]


def test_a_long_batch_travels_whole_in_msgpack(both_in_msgpack: Both) -> None:
    both, rows = both_in_msgpack, 150_001
    aliases = np.ascontiguousarray(np.tile(both.nenkin, (rows // PERSONS + 1, 1))[:rows])
    codes = [both.town, both.towns[1]] * (rows // 2) + [both.town]
    answer = both.r.inquire(tax_inquiry("long"), aliases, codes)
    assert plain(answer) == plain(both.h.inquire(tax_inquiry("long", operator="platform"), aliases, codes))
