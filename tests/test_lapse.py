"""Lapses take the locks of providers in one order, however their permits are stored: two at a time must both end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hub
from hub.exchange import Exchange
from hub.provision import delivery
from inquiries import tax_inquiry

CODES = [f"{number:011}" for number in range(1, 4)]
DAY_S = 86_400


def test_locks_are_taken_in_the_order_of_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_790_000_000]
    # The thread in the background must not look at the day meanwhile.
    monkeypatch.setattr(delivery, "DELAY_S", 60.0)
    with hub.open(tmp_path / "hub", create=True, clock=lambda: now[0]) as h:
        first, second = sorted(h.catalog.institutions("市町村長")[:2], key=lambda body: body.number)
        mine = h.acquire("nenkin", CODES).aliases
        for body in (second, first):
            h.acquire(body.code, CODES)
            h.inquire(tax_inquiry(f"to-{body.code}"), np.ascontiguousarray(mine), body.code)
            # The second's permits are in its inbox then, the first's in the log alone.
            if body is second:
                h._delivery.deliver()
        taken: list[int] = []
        lock = Exchange.lock

        def note(exchange: Exchange, provider: int) -> object:
            taken.append(provider)
            return lock(exchange, provider)

        monkeypatch.setattr(Exchange, "lock", note)
        now[0] += 30 * DAY_S
        assert h.lapse() == 6
        assert taken == [first.number, second.number]
