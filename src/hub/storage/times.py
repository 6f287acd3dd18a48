"""Counts of how long something took, in buckets: two numbers and one search a time, nothing kept of each."""

from __future__ import annotations

from bisect import bisect_left

BOUNDS_S = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0,
)  # fmt: skip
"""Upper bounds of the buckets, from a tenth of a millisecond, a sync of a fast disk, to the longest call."""


class Times:
    """How many took how long. Written by one thread at a time; read by any."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        """Of each bucket alone; the last one has no bound."""
        self.total_s = 0.0

    def __repr__(self) -> str:
        return f"Times({sum(self.counts)})"

    def add(self, seconds: float, count: int = 1) -> None:
        """One that took so long, or so many at once."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += count
        self.total_s += seconds * count
