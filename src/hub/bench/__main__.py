"""``python -m hub.bench``: measure the hub on this machine, beside its peers, with every answer checked.

Exit status: 0 all measured and every answer right; 1 an answer differed from the model, or the run could not go on
(no space, no permission); 2 usage; 130 interrupted: what was measured is printed and written all the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from hub.bench import machine as machines
from hub.bench.report import Progress, document, machine_text, table, write_json
from hub.bench.run import MEMORY_BYTES_PER_PERSON, PERSONS, PERSONS_QUICK, RECORDS_MAX, Options, Run
from hub.bench.stages import ABOUT, ON_REQUEST, STAGES
from hub.bench.subcommands import SUBCOMMANDS, dispatch, help_text, is_subcommand
from hub.errors import HubError
from hub.limits import PERSONS_MAX

OK, FOUND, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bench, or the subcommand that the first argument names, with these arguments; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if is_subcommand(argv):
        return dispatch(argv)
    options, json_file = read_arguments(argv)
    if options is None:
        for name, about in (ABOUT | SUBCOMMANDS).items():
            print(f"{name:10} {about}")
        return OK
    try:
        folder = Path(tempfile.mkdtemp(prefix="hub-bench-", dir=options.folder))
    except OSError as error:
        print(f"bench: make a folder in {options.folder}: {error.strerror}", file=sys.stderr)
        return USAGE
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        return measure(options, folder, json_file)
    finally:
        signal.signal(signal.SIGTERM, before)
        shutil.rmtree(folder, ignore_errors=True)


def read_arguments(argv: Sequence[str]) -> tuple[Options | None, Path | None]:
    """Options and the JSON file's path; no options where only a list was asked for."""
    about = "Measure the hub on this machine, beside its peers and the machine's limits."
    parser = argparse.ArgumentParser(
        prog="python -m hub.bench", description=about, epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    usual = f"all but {', '.join(sorted(ON_REQUEST))}"
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"{', '.join(STAGES)}; list; default: {usual}")
    parser.add_argument("--quick", action="store_true", help=f"a few seconds: {PERSONS_QUICK:,} persons")
    parser.add_argument("--persons", type=int, metavar="N", help=f"size of the larger hub (default {PERSONS:,})")
    parser.add_argument("--records", type=int, default=0, metavar="N", help="records to inquire for, 110 bytes each")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of persons and batches (default 0)")
    parser.add_argument("--threads", type=int, metavar="T", help="of multi-threaded cases (default: cores, at most 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and results there")
    parser.add_argument("--folder", type=Path, default=Path(), help="where the temporary folder goes (default: here)")
    given = parser.parse_args(argv)
    if given.stages == ["list"]:
        return None, None
    unknown = [name for name in given.stages if name not in STAGES]
    if unknown:
        parser.exit(USAGE, f"bench: stage: expected one of {', '.join(STAGES)} or list, got {unknown[0]}\n")
    persons = given.persons if given.persons is not None else PERSONS_QUICK if given.quick else PERSONS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = given.threads if given.threads is not None else min(2, cores)
    bounds = (
        ("persons", persons, 1_000, PERSONS_MAX),
        ("threads", threads, 1, 1_024),
        ("records", given.records, 0, RECORDS_MAX),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            parser.exit(USAGE, f"bench: --{name}: expected {low:,} to {high:,}, got {value:,}\n")
    chosen = set(given.stages) or STAGES.keys() - ON_REQUEST
    stages = tuple(name for name in STAGES if name in chosen)
    return Options(stages, persons, given.seed, threads, given.quick, given.folder, given.records), given.json


def interrupt(number: int, frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that folders go and results stay."""
    raise KeyboardInterrupt


def measure(options: Options, folder: Path, json_file: Path | None) -> int:
    """Run the stages, then print and write what was found, complete or not."""
    machine = machines.describe(folder)
    disk, memory = options.disk_bytes, sum(options.sizes) * MEMORY_BYTES_PER_PERSON
    if machine["disk_free_bytes"] < disk:
        bound = f"{machines.gib(disk)} for {options.persons:,} persons"
        print(f"bench: space in {options.folder}: expected {bound}, got {machines.gib(machine['disk_free_bytes'])}; "
              "use --folder, --persons or --records", file=sys.stderr)  # fmt: skip
        return FOUND
    warnings = machines.warnings_before(machine, machines.spin_spread(), disk, memory)
    print(machine_text(machine))
    for warning in warnings:
        print(f"WARNING   {warning}")
    neighbours = machines.Neighbours()
    progress = Progress()
    bench = Run(options, folder, progress)
    status = run_stages(bench)
    progress.clear()
    disturbed = machines.warning_after(neighbours.cores())
    if disturbed:
        warnings.append(disturbed)
        print(f"WARNING   {disturbed}")
    machine["warnings"] = warnings
    print(table(bench.results))
    if importlib.util.find_spec("duckdb") is None:
        bench.leave_out("peer:duckdb: not installed (the extra bench)")
    for note in bench.notes:
        print(textwrap.fill(note, 100, initial_indent="note      ", subsequent_indent=" " * 10))
    for reason in bench.left_out:
        print(f"left out  {reason}")
    print_truth(bench, complete=status in (OK, FOUND))
    if json_file is not None:
        try:
            write_json(json_file, content_of(bench, machine, complete=status == OK))
        except OSError as error:
            print(f"bench: write {json_file}: {error.strerror}", file=sys.stderr)
            return FOUND
    return FOUND if status == OK and bench.truth.problems else status


def run_stages(bench: Run) -> int:
    """Run what was asked for; the exit status, with one line on stderr where it could not end well."""
    try:
        for name in bench.options.stages:
            STAGES[name](bench)
    except KeyboardInterrupt:
        bench.progress.clear()
        print("bench: interrupted: these are the cases that were done", file=sys.stderr)
        return INTERRUPTED
    except (HubError, OSError, MemoryError) as error:
        bench.progress.clear()
        cause = error if isinstance(error, HubError) else getattr(error, "strerror", None) or "out of memory"
        print(f"bench: stopped: {cause}; these are the cases that were done", file=sys.stderr)
        return FOUND
    finally:
        bench.close()
    return OK


def content_of(bench: Run, machine: dict[str, Any], *, complete: bool) -> dict[str, Any]:
    return document(
        machine, bench.results, seed=bench.options.seed, answers=bench.truth.hexdigest(), complete=complete,
        problems=bench.truth.problems,
    )  # fmt: skip


def print_truth(bench: Run, *, complete: bool) -> None:
    truth = bench.truth
    for problem in truth.problems:
        print(f"WRONG     {problem}", file=sys.stderr)
    verdict = "all as the model's" if not truth.problems else f"{len(truth.problems)} cases differ from the model"
    print(f"answers   {truth.hexdigest()}")
    part = "" if complete else " so far"
    print(f"truth     {truth.rows:,} rows checked{part}, {verdict}; took {bench.seconds():.0f} s")


if __name__ == "__main__":
    sys.exit(main())
