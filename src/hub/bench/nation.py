"""``python -m hub.bench nation``: a hundred million inquiries and more, really run, over everybody in Japan.

The pension agency asks everybody's own municipality about them, 1,741 of them, nobody more than twice. Every row is
authorised, resolved, recorded, synced, in the tree; its permit is sorted into the municipality's inbox. The clock runs
from the first row to the last durable chunk; the inboxes and the index of histories that are filled beside it are
waited for behind it, with clocks of their own. Then log, inboxes, histories, proofs and tables are compared with the
model.

Exit status: 0 all answers as the model's; 1 one differed, or disk or memory do not suffice; 2 usage; 130 interrupted:
what was measured is printed and written all the same, and the folder is gone unless ``--keep`` was given.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hub.bench import machine as machines
from hub.bench.ending import FOUND, OK, USAGE, Interrupts, run_to_end
from hub.bench.nationrun import NationRun, Sizes, needs_of
from hub.bench.nationtext import document_of, text_of
from hub.bench.nationworld import NationWorld, is_built, world_folder
from hub.bench.report import Progress, machine_text, write_json

PERSONS = 62_500_000
INQUIRIES = 125_000_000
PERSONS_MIN, PERSONS_MAX = 1_000, 200_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run it with these arguments; returns the exit status."""
    given = read_arguments(argv)
    sizes = Sizes(given.persons, given.inquiries, given.rows, given.seed, given.threads)
    progress = Progress()
    kept = world_folder(given.folder, given.persons, given.seed)
    try:
        given.folder.mkdir(parents=True, exist_ok=True)
        refusal = needs_of(sizes, keep=given.keep, built=given.keep and is_built(kept)).refusal(given.folder)
    except OSError as error:
        print(f"nation: make a folder in {given.folder}: {error.strerror}", file=sys.stderr)
        return USAGE
    if refusal is not None:
        print(f"nation: {refusal}", file=sys.stderr)
        return FOUND
    temporary = Path(tempfile.mkdtemp(prefix="hub-nation-", dir=given.folder))
    try:
        with Interrupts() as interrupts:
            run = NationRun(sizes, progress, interrupts)
            return measure(run, kept if given.keep else None, temporary, given.json, build_only=given.build)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m hub.bench nation",
        description="Ask about everybody in Japan, twice, and say where the time went.",
        epilog="exit status: 0; 1 an answer was wrong, or disk or memory do not suffice; 2 usage; 130 interrupted",
    )  # fmt: skip
    parser.add_argument("--persons", type=int, metavar="N", help=f"persons in the hub (default {PERSONS:,})")
    parser.add_argument("--inquiries", type=int, metavar="N", help="rows to ask, at most two a person (default that)")
    parser.add_argument("--rows", type=int, default=5_000_000, metavar="N", help="of one inquiry (default 5,000,000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of persons and rows (default 0)")
    parser.add_argument("--threads", type=int, metavar="T", help="of the hub (default: cores)")
    parser.add_argument("--folder", type=Path, default=Path(), help="where everything is written (default: here)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine, figures and truth there")
    parser.add_argument(
        "--keep", action="store_true",
        help="build the world in a folder that stays (nation-<persons>-<seed>), or take up the one that is there; the "
        "run works on a copy of it",
    )  # fmt: skip
    parser.add_argument("--build", action="store_true", help="with --keep: only build, ask nothing")
    given = parser.parse_args(argv)
    given.persons = PERSONS if given.persons is None else given.persons
    given.inquiries = 2 * given.persons if given.inquiries is None else given.inquiries
    given.threads = len(os.sched_getaffinity(0)) if given.threads is None else given.threads
    bounds = (
        ("persons", given.persons, PERSONS_MIN, PERSONS_MAX),
        ("inquiries", given.inquiries, 1, 2 * given.persons),
        ("rows", given.rows, 1, 1 << 24),
        ("seed", given.seed, 0, (1 << 31) - 1),
        ("threads", given.threads, 1, 1_024),
    )
    for name, value, low, high in bounds:
        if not low <= value <= high:
            parser.exit(USAGE, f"nation: --{name}: expected {low:,} to {high:,}, got {value:,}\n")
    if given.build and not given.keep:
        parser.exit(USAGE, "nation: --build: expected --keep beside it, got none: what it built would be gone\n")
    return given


def measure(
    run: NationRun, kept: Path | None, temporary: Path, json_file: Path | None, *, build_only: bool
) -> int:
    """Build or take up the world, run, check; print and write what was found, complete or not."""
    machine = machines.describe(temporary)
    print(machine_text(machine))
    neighbours = machines.Neighbours()
    sizes, progress = run.sizes, run.progress

    def work() -> None:
        open_world(run, kept, temporary, build_only=build_only)
        if not build_only:
            run.ask()
            run.check(np.random.default_rng([sizes.seed, 1]))

    try:
        status = run_to_end("nation", "inquiries", progress, work)
    finally:
        run.close()
    progress.clear()
    disturbed = machines.warning_after(neighbours.cores())
    machine["warnings"] = [disturbed] if disturbed else []
    return report(run, machine, json_file, status)


def open_world(run: NationRun, kept: Path | None, temporary: Path, *, build_only: bool) -> None:
    """Build what is missing of the world, and hand the run one that it may write into."""
    sizes = run.sizes
    folder = temporary / "world" if kept is None else kept
    run.world = NationWorld(folder, sizes.persons, seed=sizes.seed, threads=sizes.threads)
    run.world.build(run.progress)
    run.built_s = run.world.state.seconds
    if kept is not None and not build_only:
        begin = time.monotonic()
        run.world = run.world.copy(temporary / "world", run.progress)
        run.copy_s = time.monotonic() - begin


def report(run: NationRun, machine: dict[str, Any], json_file: Path | None, status: int) -> int:
    """Print and write; the exit status."""
    for warning in machine["warnings"]:
        print(f"WARNING   {warning}")
    print(text_of(run))
    for problem in run.truth.problems:
        print(f"WRONG     {problem}", file=sys.stderr)
    if json_file is not None:
        try:
            write_json(json_file, document_of(run, machine, complete=status == OK))
        except OSError as error:
            print(f"nation: write {json_file}: {error.strerror}", file=sys.stderr)
            return FOUND
    return FOUND if status == OK and run.truth.problems else status


if __name__ == "__main__":
    sys.exit(main())
