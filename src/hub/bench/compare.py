"""``python -m hub.bench compare A.json B.json``: two recorded runs, case by case; whether B is slower beyond spread.

A ratio above 1 says that B is better: more rows a second, less time, fewer bytes. A case is slower (or faster) when its
ratio is further from 1 than the spreads of both together, and than the tolerance, which is all there is for a case that
was measured once. Peers and limits are shown and not judged: they say whether the machine was the same.

Exit status: 0 nothing is slower; 1 something is; 2 usage, or the two have no case in common.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hub.bench.recorded import read_run, results_of
from hub.bench.report import micros_text, number_text, rate_text
from hub.bench.results import Result, spread
from hub.errors import RequestError

OK, FOUND, USAGE = 0, 1, 2

TOLERANCE = 0.10
"""Two runs of the same code on a quiet machine differ by some per cent, one tenth at the most seen."""

JUDGED = {"rows_per_s": (1, rate_text), "p50_us": (-1, micros_text), "p99_us": (-1, micros_text),
          "bytes_per_row": (-1, number_text)}  # fmt: skip
"""Metrics -> whether more is better (1) or worse (-1), and how they are written."""

SAME_MACHINE = ("cpu", "cores", "kernel", "python", "flags", "filesystem")
CASE_WIDTH = 46


class Line(NamedTuple):
    """One metric of one case in both runs. ``verdict`` is slower, faster, same, or empty for what is not judged."""

    case: str
    metric: str
    old: float
    new: float
    ratio: float
    beyond: float
    verdict: str


def main(argv: Sequence[str]) -> int:
    """Compare two files; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m hub.bench compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, metavar="A.json", help="the run before")
    parser.add_argument("new", type=Path, metavar="B.json", help="the run after")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, metavar="X", help="least share (default 0.10)")
    parser.add_argument("--all", action="store_true", help="show cases that are the same, too")
    given = parser.parse_args(argv)
    if not 0 <= given.tolerance < 1:
        parser.exit(USAGE, f"bench: --tolerance: expected 0 to below 1, got {given.tolerance}\n")
    try:
        old, new = read_run(given.old), read_run(given.new)
    except RequestError as error:
        print(f"bench: {error}", file=sys.stderr)
        return USAGE
    lines = list(compare(old, new, given.tolerance))
    if not lines:
        print("bench: compare: expected cases in common, got none", file=sys.stderr)
        return USAGE
    for warning in differences(old, new):
        print(f"WARNING   {warning}")
    print_lines(lines, whole=given.all)
    slower = sum(line.verdict == "slower" for line in lines)
    faster = sum(line.verdict == "faster" for line in lines)
    judged = sum(bool(line.verdict) for line in lines)
    print(f"compared  {judged} figures: {slower} slower, {faster} faster, the rest within spread")
    return FOUND if slower else OK


def compare(old: dict[str, Any], new: dict[str, Any], tolerance: float) -> Iterator[Line]:
    """Every metric that both runs have, in the order of the newer one."""
    before = {(result.case, result.metric): result for result in old["results"]}
    for case, metrics in results_of(new).cases_by_stage():
        for metric, result in metrics.items():
            other = before.get((case, metric))
            if metric in JUDGED and other is not None and other.value > 0 and result.value > 0:
                yield judge(case, other, result, tolerance)


def judge(case: str, old: Result, new: Result, tolerance: float) -> Line:
    """Whether one metric moved beyond its spread."""
    sign = JUDGED[new.metric][0]
    ratio = (new.value / old.value) ** sign
    beyond = max(tolerance, (spread(old) or 0.0) + (spread(new) or 0.0))
    # The same number of times slower as faster: 1.25 is as far as 0.8.
    if "peer:" in case or " limit" in case or case.startswith("limits:"):
        verdict = ""
    elif ratio < 1 / (1 + beyond):
        verdict = "slower"
    elif ratio > 1 + beyond:
        verdict = "faster"
    else:
        verdict = "same"
    return Line(case, new.metric, old.value, new.value, ratio, beyond, verdict)


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """What makes the comparison doubtful."""
    for name in SAME_MACHINE:
        values = [run["machine"].get(name) for run in (old, new)]
        if values[0] != values[1]:
            yield f"{name}: {values[0]} and {values[1]}"
    for letter, run in (("A", old), ("B", new)):
        for warning in run["machine"].get("warnings") or ():
            yield f"{letter}: {warning}"
        if not run.get("complete", True):
            yield f"{letter} did not end"
        for problem in run.get("problems") or ():
            yield f"{letter} was wrong: {problem}"


def print_lines(lines: list[Line], *, whole: bool) -> None:
    """A table of at most a hundred columns; without ``whole`` only what moved."""
    shown = [line for line in lines if whole or line.verdict in ("slower", "faster")]
    if not shown:
        return
    print(f"{'':{CASE_WIDTH}}{'':>9}{'A':>10}{'B':>10}{'ratio':>8}{'beyond':>8}")
    for line in shown:
        show = JUDGED[line.metric][1]
        name = {"rows_per_s": "rows/s", "p50_us": "p50", "p99_us": "p99", "bytes_per_row": "bytes"}[line.metric]
        print(f"{line.case:{CASE_WIDTH}.{CASE_WIDTH}}{name:>9}{show(line.old):>10}{show(line.new):>10}"
              f"{line.ratio:>8.2f}{line.beyond:>8.0%} {line.verdict}".rstrip())  # fmt: skip
