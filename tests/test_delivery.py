"""The thread that sorts into the inboxes gives way: it rests beside single inquiries, and holds no lock meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.provision import delivery
from hub.provision.delivery import REST_OF, WORK_S
from inquiries import tax_inquiry

CODES = [f"{number:011}" for number in range(1, 9)]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub.Hub]:
    """A hub whose log has permits for two towns, in no inbox yet."""
    monkeypatch.setattr(delivery, "DELAY_S", 60.0)
    with hub.open(tmp_path / "hub", create=True) as h:
        mine = h.acquire("nenkin", CODES).aliases
        for number, body in enumerate(h.catalog.institutions("市町村長")[:2]):
            h.acquire(body.code, CODES)
            h.inquire(tax_inquiry(f"r{number}"), np.ascontiguousarray(mine), body.code)
        yield h


@pytest.fixture
def rests(asked: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of each rest that would have been taken."""
    found: list[float] = []
    closing = asked._delivery._closing
    monkeypatch.setattr(closing, "wait", found.append)
    return found


def work(h: hub.Hub, seconds: float, *, hurried: bool = True) -> None:
    h._store.turns._hurried_at = time.monotonic() - (0.0 if hurried else 3_600.0)
    h._delivery._began = time.perf_counter() - seconds
    h._delivery._rest()


def test_it_rests_as_long_as_it_worked_and_more(asked: hub.Hub, rests: list[float]) -> None:
    work(asked, 2 * WORK_S)
    assert rests[0] >= 2 * WORK_S * REST_OF
    work(asked, 3_600.0)
    assert rests[1] == 10 * WORK_S * REST_OF


@pytest.mark.parametrize("why", ["little done", "nobody asks singly", "much is behind", "somebody waits"])
def test_it_does_not_rest(asked: hub.Hub, rests: list[float], why: str) -> None:
    asked._delivery._rest_of = 0.0 if why == "much is behind" else REST_OF
    asked._delivery._waiting = why == "somebody waits"
    work(asked, -3_600.0 if why == "little done" else 1.0, hurried=why != "nobody asks singly")
    assert rests == []


def test_who_sorts_in_by_themselves_is_counted_until_it_is_done(asked: hub.Hub) -> None:
    seen = []
    asked._delivery._deliverer.rest = lambda: seen.append(asked._delivery._waiting)
    asked._delivery.deliver()
    assert asked._delivery._deliverer.behind() == 0
    assert set(seen) == {1}
    assert asked._delivery._waiting == 0


def test_it_rests_often_and_without_the_writers_lock(asked: hub.Hub) -> None:
    owned = []
    asked._delivery._deliverer.rest = lambda: owned.append(asked._store.writer._is_owned())  # type: ignore[attr-defined]
    assert asked._delivery._deliverer.step()
    # Behind each of two chunks as it is read, placed, searched for ends of two kinds; and behind each of two inboxes.
    assert owned == [False] * 10


def test_the_more_is_behind_the_less_it_rests(asked: hub.Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound, part in ((32, 0.5), (16, 0.0), (8, 0.0)):
        monkeypatch.setattr(delivery, "HASTE_FROM", bound)
        asked._delivery._step()
        assert asked._delivery._rest_of == part * REST_OF
    asked._delivery.deliver()
    asked._delivery._step()
    assert asked._delivery._rest_of == REST_OF
