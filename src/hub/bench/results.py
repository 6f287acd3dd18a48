"""The results of a run: one line a metric, and the ratios between cases of one size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from hub.bench.measure import Timing, percentiles_us

UNITS = {
    "rows_per_s": "rows/s",
    "ns_per_row": "ns",
    "cpu_ns_per_row": "ns",
    "p50_us": "us",
    "p99_us": "us",
    "max_us": "us",
    "rows": "rows",
    "bytes": "bytes",
    "bytes_per_s": "bytes/s",
    "bytes_per_row": "bytes",
    "ratio_to_best_peer": "x",
    "ratio_to_inquiry": "x",
    "share_of_limit": "1",
    "rows_per_commit": "rows/commit",
    "bytes_per_connection": "bytes",
    "anonymous_bytes_per_connection": "bytes",
    "client_us_per_row": "us",
    "server_us_per_row": "us",
    "portal_us_per_row": "us",
    "hub_us_per_row": "us",
    "switches_per_row": "1",
    "calls_per_million_rows": "1",
    "frames_per_million_rows": "1",
    "ratio_to_quiet": "x",
}


class Result(msgspec.Struct, omit_defaults=True):
    """One metric of one case. ``low`` and ``high`` are the extremes of ``repeats`` repeats, ``value`` their median.

    ``of`` is the case that a ratio or a share was formed with.
    """

    stage: str
    case: str
    metric: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    repeats: int | None = None
    of: str | None = None


class Results:
    """What was measured so far, in the order of measuring."""

    def __init__(self) -> None:
        self.rows: list[Result] = []

    def add(self, case: str, metric: str, value: float, *, of: str | None = None) -> None:
        """Enter a metric. A case is ``<stage>: <size and variant>``."""
        self.rows.append(Result(stage_of(case), case, metric, float(value), UNITS[metric], of=of))

    def add_rate(self, case: str, metric: str, timing: Timing) -> None:
        """Enter what a timing counts as a rate of its own kind, say bytes a second."""
        middle, low, high = timing.rates()
        n = len(timing.seconds)
        self.rows.append(Result(stage_of(case), case, metric, middle, UNITS[metric], low, high, n))

    def add_timing(self, case: str, timing: Timing) -> None:
        """Enter rows/s and ns/row of a case."""
        middle, low, high = timing.rates()
        n = len(timing.seconds)
        stage = stage_of(case)
        self.rows.append(Result(stage, case, "rows_per_s", middle, UNITS["rows_per_s"], low, high, n))
        self.rows.append(Result(stage, case, "ns_per_row", 1e9 / middle, UNITS["ns_per_row"], 1e9 / high, 1e9 / low, n))

    def add_latency(self, case: str, seconds: list[float]) -> None:
        """Enter p50 and p99 of a case."""
        p50, p99 = percentiles_us(seconds)
        for metric, value in (("p50_us", p50), ("p99_us", p99)):
            self.rows.append(Result(stage_of(case), case, metric, value, UNITS[metric], repeats=len(seconds)))

    def find(self, case: str, metric: str) -> float | None:
        return next((r.value for r in self.rows if r.case == case and r.metric == metric), None)

    def compare(
        self, case: str, *, peers: Iterable[str] = (), limit: str | None = None, limits: Iterable[str | None] = ()
    ) -> None:
        """Enter the ratio of a case to the best of these peers' cases, and its share of the limit that binds it.

        The caller names cases of the same rows and the same size; there is no ratio without them. Of several limits the
        lowest binds. A case that is a latency is held against the median latency of one limit.
        """
        rate = self.find(case, "rows_per_s")
        if rate is None:
            self._compare_latency(case, limit)
            return
        rates = {peer: found for peer in peers if (found := self.find(peer, "rows_per_s")) is not None}
        if rates:
            best = max(rates, key=rates.__getitem__)
            self.add(case, "ratio_to_best_peer", rate / rates[best], of=best)
        names = [name for name in (limit, *limits) if name]
        bounds = {name: found for name in names if (found := self.find(name, "rows_per_s"))}
        if bounds:
            binding = min(bounds, key=bounds.__getitem__)
            self.add(case, "share_of_limit", rate / bounds[binding], of=binding)

    def _compare_latency(self, case: str, limit: str | None) -> None:
        took, least = self.find(case, "p50_us"), self.find(limit, "p50_us") if limit else None
        if took and least:
            self.add(case, "share_of_limit", least / took, of=limit)

    def cases(self) -> Iterator[tuple[str, dict[str, Result]]]:
        """Each case with its metrics, in the order of measuring."""
        found: dict[str, dict[str, Result]] = {}
        for result in self.rows:
            found.setdefault(result.case, {})[result.metric] = result
        yield from found.items()

    def cases_by_stage(self) -> list[tuple[str, dict[str, Result]]]:
        """The same, those of one stage together: a limit may be measured while another stage goes on."""
        order = {stage: number for number, stage in enumerate(dict.fromkeys(result.stage for result in self.rows))}
        return sorted(self.cases(), key=lambda case: order[stage_of(case[0])])


def stage_of(case: str) -> str:
    return case.partition(":")[0]


def size_name(rows: int) -> str:
    """A size as the cases spell it: 10M, 1.5M, 200k, 70."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        # From 999,500 on three places would read 1,000k.
        if rows >= unit - unit // 2_000:
            return f"{rows / unit:.3g}{letter}"
    return str(rows)


def spread(result: Result) -> float | None:
    """Half the distance between the extremes, as a share of the median."""
    if result.low is None or result.high is None or result.repeats == 1:
        return None
    return (result.high - result.low) / 2 / result.value
