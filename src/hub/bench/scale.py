"""``python -m hub.bench scale``: curves over persons, batches, threads and records, as JSON and a page of plots.

Every answer is compared with the model. A curve that does not reach its end says where it stopped, and why: memory or
disk.

Exit status: 0 all answers as the model's; 1 one differed, or the run could not go on; 2 usage; 130 interrupted: what
was measured is written all the same. The temporary folder is gone in every case.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hub.bench import machine as machines
from hub.bench.ending import FOUND, OK, USAGE, Interrupts, run_to_end
from hub.bench.html import Page, Section, lacks, write_page
from hub.bench.plots import Curve, draw, short_number
from hub.bench.report import Progress, machine_text, write_json
from hub.bench.scalecurves import Curves
from hub.bench.scalelog import CITIZENS, HistoryCurves, record_sizes
from hub.bench.scalepace import MINUTES_MOST, Pace
from hub.bench.scaleworld import GrowingWorld
from hub.bench.truth import Truth

PERSONS_MAX, PERSONS_QUICK, PERSONS_MOST = 125_000_000, 200_000, 1_000_000_000
RECORDS_MAX, RECORDS_QUICK, RECORDS_MOST = 500_000_000, 200_000, 10_000_000_000
PERSONS_SHARE = 0.4
"""Of the minutes of a run with a bound, for the look-up; the log has what is left."""

LOG_PERSONS = 1_000_000
"""Whom the log is about: fewer where it is small."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure with these arguments; returns the exit status."""
    given = read_arguments(argv)
    reason = lacks() if given.html is not None else None
    if reason is not None:
        print(f"scale: --html: {reason}", file=sys.stderr)
        return USAGE
    try:
        folder = Path(tempfile.mkdtemp(prefix="hub-scale-", dir=given.folder))
    except OSError as error:
        print(f"scale: make a folder in {given.folder}: {error.strerror}", file=sys.stderr)
        return USAGE
    try:
        with Interrupts():
            return measure(given, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m hub.bench scale", description="Curves over persons, batches, threads and records.",
        epilog="exit status: 0; 1 an answer was wrong or the run could not go on; 2 usage; 130 interrupted",
    )  # fmt: skip
    parser.add_argument(
        "--persons-max", type=int, metavar="N", help=f"as far as memory allows, to {PERSONS_MAX:,}; 0: no such curves"
    )
    parser.add_argument(
        "--records-max", type=int, metavar="N", help=f"as far as the disk allows, to {RECORDS_MAX:,}; 0: no such curves"
    )
    quick = f"to {PERSONS_QUICK:,} persons and {RECORDS_QUICK:,} records"
    parser.add_argument("--quick", action="store_true", help=quick)
    bound = "stop growing where the next size would not be done within these (default: no bound)"
    parser.add_argument("--minutes", type=int, metavar="M", help=bound)
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of persons and rows (default 0)")
    parser.add_argument("--threads", type=int, metavar="T", help="the most (default: cores)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and curves there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write them there as one page with plots")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the temporary folder goes (default: here)")
    given = parser.parse_args(argv)
    if given.persons_max is None:
        given.persons_max = PERSONS_QUICK if given.quick else PERSONS_MAX
    if given.records_max is None:
        given.records_max = RECORDS_QUICK if given.quick else RECORDS_MAX
    given.threads = len(os.sched_getaffinity(0)) if given.threads is None else given.threads
    bounds = (
        ("persons-max", given.persons_max, 10_000, PERSONS_MOST),
        ("records-max", given.records_max, 10_000, RECORDS_MOST),
        ("threads", given.threads, 1, 1_024),
        ("minutes", 1 if given.minutes is None else given.minutes, 1, MINUTES_MOST),
        ("seed", given.seed, 0, (1 << 31) - 1),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high and not (value == 0 and name.endswith("-max")):
            parser.exit(USAGE, f"scale: --{name}: expected {low:,} to {high:,}, got {value:,}\n")
    return given


def measure(given: argparse.Namespace, folder: Path) -> int:
    """All curves; print and write what was found, complete or not."""
    machine = machines.describe(folder) | {"warnings": []}
    print(machine_text(machine))
    neighbours, begin = machines.Neighbours(), time.monotonic()
    truth, progress = Truth(), Progress()
    curves: list[Curve] = []

    def save() -> None:
        # An end that nothing can be written behind (out of memory, a kill) leaves what was done before it.
        if given.json is not None:
            write_json(given.json, document(given, machine, curves, truth, complete=False))

    def pace(share: float) -> Pace:
        left = None if given.minutes is None else share * (60 * given.minutes - (time.monotonic() - begin))
        return Pace(left)

    status = OK
    for half, most, name, share in (
        (measure_persons, given.persons_max, "persons", PERSONS_SHARE),
        (measure_records, given.records_max, "records", 1.0),
    ):
        # Where one half finds no space the other one has that of its folder.
        if most and status in (OK, FOUND):
            work = partial(half, given, folder / name, curves, truth, progress, pace=pace(share), save=save)
            status = run_to_end("scale", "points", progress, work) or status
    if status == OK and any(curve.stopped and not curve.series for curve in curves):
        # Not one point: what was asked for could not be measured.
        status = FOUND
    progress.clear()
    disturbed = machines.warning_after(neighbours.cores())
    machine["warnings"] = [disturbed] if disturbed else []
    content = document(given, machine, curves, truth, complete=status == OK)
    show(content, curves, time.monotonic() - begin)
    try:
        if given.json is not None:
            write_json(given.json, content)
        if given.html is not None:
            write_page(given.html, page_of(content, curves))
    except OSError as error:
        print(f"scale: write {error.filename or 'the results'}: {error.strerror}", file=sys.stderr)
        return FOUND
    return FOUND if status == OK and truth.problems else status


def measure_persons(
    given: argparse.Namespace, folder: Path, curves: list[Curve], truth: Truth, progress: Progress, *, pace: Pace,
    save: Callable[[], None],
) -> None:  # fmt: skip
    """The curves of the look-up; their folder is gone when this returns."""
    threads = [count for count in sorted({1, *(1 << i for i in range(11)), given.threads}) if count <= given.threads]
    world = GrowingWorld(folder, given.persons_max, threads=given.threads)
    try:
        measuring = Curves(
            world, truth, progress, threads=threads, persons_max=given.persons_max, seed=given.seed,
            pace=pace, save=save,
        )  # fmt: skip
        curves += measuring.curves()
        measuring.measure()
    finally:
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def measure_records(
    given: argparse.Namespace, folder: Path, curves: list[Curve], truth: Truth, progress: Progress, *, pace: Pace,
    save: Callable[[], None],
) -> None:  # fmt: skip
    """The curves of the log; their folder is gone when this returns."""
    persons = max(CITIZENS * len(record_sizes(given.records_max)), min(LOG_PERSONS, given.records_max))
    measuring = HistoryCurves(
        folder, truth, progress, persons=persons, records_max=given.records_max, threads=given.threads, seed=given.seed,
        pace=pace, save=save,
    )  # fmt: skip
    try:
        curves += measuring.curves()
        measuring.measure()
    finally:
        measuring.close()
        shutil.rmtree(folder, ignore_errors=True)


def document(
    given: argparse.Namespace, machine: dict[str, Any], curves: list[Curve], truth: Truth, *, complete: bool
) -> dict[str, Any]:
    """The JSON. ``complete`` is false for a run that was interrupted."""
    return {
        "machine": machine,
        "commit": machine["commit"],
        "seed": given.seed,
        "answers": truth.hexdigest(),
        "rows_checked": truth.rows,
        "complete": complete,
        "problems": truth.problems,
        "curves": [curve for curve in curves if curve.series or curve.stopped],
    }


def page_of(content: dict[str, Any], curves: list[Curve]) -> Page:
    """The page of plots."""
    warnings = list(content["machine"]["warnings"])
    warnings += [] if content["complete"] else ["interrupted: these are the points that were done"]
    warnings += [f"wrong: {problem}" for problem in content["problems"]]
    sections = [Section(curve.title, body_of(curve), curve.note) for curve in curves if curve.series or curve.stopped]
    facts = {
        "answers": f"{content['answers']}, {content['rows_checked']:,} rows compared with the model",
        "seed": str(content["seed"]),
    }
    return Page("The hub by size", content["machine"], sections, facts, warnings)


def body_of(curve: Curve) -> str:
    """The plot, and why it goes no further."""
    stopped = Markup('<p class="stopped">{}</p>').format(curve.stopped) if curve.stopped else Markup()
    return stopped + draw(curve) if curve.series else stopped


def show(content: dict[str, Any], curves: list[Curve], seconds: float) -> None:
    """The curves as text: a line a series, from its first to its last point."""
    for warning in content["machine"]["warnings"]:
        print(f"WARNING   {warning}")
    for curve in (curve for curve in curves if curve.series or curve.stopped):
        print(f"{curve.title} ({curve.y})")
        for name, points in curve.series.items():
            text = "  ".join(f"{short_number(point.x)}: {short_number(point.y)}" for point in points)
            print(f"  {name:14} {text}")
        if curve.stopped:
            print(f"  {curve.stopped}")
    for problem in content["problems"]:
        print(f"WRONG     {problem}", file=sys.stderr)
    verdict = "all as the model's" if not content["problems"] else f"{len(content['problems'])} differ from the model"
    print(f"truth     {content['rows_checked']:,} rows checked, {verdict}; took {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
