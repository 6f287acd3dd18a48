"""Permits and arrivals whose time is over lapse: a record each, tied to its permit; of holders and of others alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from hub.exchange import Exchange
from hub.limits import ROWS_PER_CHUNK
from hub.messages import Kind, Status
from hub.protection.withholding import Office
from hub.provision.ends import Ends, append_ends, join_ends
from hub.provision.inbox import ARRIVALS
from hub.tlog.entry import decode_shared


class Lapser:
    """Lets permits of an open hub lapse."""

    def __init__(self, office: Office, exchange: Exchange, published: Callable[[], None]) -> None:
        self._office, self._exchange, self._published = office, exchange, published

    def __repr__(self) -> str:
        return "Lapser()"

    def lapse(self) -> int:
        """Record the lapse of every permit whose time is over; returns how many."""
        done = 0
        now = self._office.now()
        with self._exchange.state() as state:
            # By number: two lapses at a time, a caller's and the day's, must not wait for each other's locks.
            due = sorted(
                inbox.provider
                for inbox in state.providers()
                if ((inbox.entries["open"] > 0) & (inbox.entries["deadline"] <= now)).any()
                or state.has_left(inbox.provider)
            )
        at = 0
        while at < len(due):
            with contextlib.ExitStack() as locks:
                several: list[Ends] = []
                rows, arrivals = 0, due[at] >= ARRIVALS
                # Records of one kind each time: what was sent behind what was asked.
                while at < len(due) and rows < ROWS_PER_CHUNK and (due[at] >= ARRIVALS) == arrivals:
                    locks.enter_context(self._exchange.lock(due[at]))
                    some = self._lapsed(due[at], now, ROWS_PER_CHUNK - rows)
                    rows += len(some.indexes)
                    several.append(some)
                    if rows < ROWS_PER_CHUNK:
                        at += 1
                if rows:
                    append_ends(self._office, join_ends(several))
                    done += rows
        if done:
            self._published()
        return done

    def _lapsed(self, provider: int, now: int, most: int) -> Ends:
        with self._exchange.state() as state:
            inbox, records = state.inbox(provider), state.snapshot.state.records
            found = state.between(inbox, 0, records, waiting=True, due=now)
            manual = np.array(sorted(state.manual(provider)), dtype=np.uint64)
        deadlines = np.array([part.deadline for part in found.rows.parts], dtype=np.int64)
        at = np.flatnonzero(deadlines[found.rows.which] <= now)[:most] if len(deadlines) else np.empty(0, np.intp)
        parts = list(found.rows.parts)
        return Ends(
            np.full(len(at), provider % ARRIVALS, np.uint16), found.rows.indexes[at], found.rows.persons[at],
            found.rows.which[at], parts, [decode_shared(part.shared) for part in parts],
            np.full(len(at), Status.LAPSED, np.uint8), np.zeros(len(at), np.uint8), None,
            np.isin(found.rows.indexes[at], manual), Kind.TAKEN if provider >= ARRIVALS else Kind.LAPSE, None, None,
        )  # fmt: skip
